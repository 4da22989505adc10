"""Generated images, whole and damaged, posted to a real server while others go on using it.

`make images-run` posts 1,000 (IMAGES_RUN=…, IMAGES_SEED=…) and judges how long the others waited.
"""

import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import httpx
import psutil

from support import samples
from support.generated import Generated, generated
from support.servers import LOCAL, start, wait_until_ready

COUNT = int(os.environ.get("IMAGES_RUN", "0"))
IN_CI = 62  # each kind twice
SEED = int(os.environ.get("IMAGES_SEED", "20261125"))
SENDERS = 4
MAX_P99_SECONDS = 3
# What may be said of an image, if it is not shown. `processing_failed` would be our fault.
REASONS = {"image_unreadable", "image_unsupported", "image_too_large", "image_too_slow"}


@dataclass
class Found:
    """The outcomes of the images, the faults, and the bystanders' waits in seconds."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    @property
    def p99(self) -> float:
        return sorted(self.waited)[int(len(self.waited) * 0.99)]

    def __str__(self) -> str:
        slowest = f"p99 {self.p99:.2f} s, longest {max(self.waited):.2f} s"
        return f"{dict(self.outcomes)}; {len(self.waited)} bystanders' images ready: {slowest}"


def outcome(client: httpx.Client, content: bytes) -> tuple[str, dict[str, Any]]:
    """Post it, and wait until it is ready, failed (and why), or was refused at once."""
    answer = client.post("/posts", files={"image": content})
    if answer.status_code in (413, 415, 422):
        return "refused", answer.json()
    assert answer.status_code == 201, answer.text
    place = answer.headers["location"]
    while (post := client.get(place, params={"wait": 20}).raise_for_status().json())[
        "status"
    ] == "processing":
        pass
    return (post.get("failure") or {}).get("code", post["status"]), post


def send(url: str, name: str, images: "Queue[Generated]", results: Found) -> None:
    with httpx.Client(base_url=url, headers={"user-id": name}, timeout=60) as client:
        while True:
            try:
                image = images.get_nowait()
            except Empty:
                return
            try:
                came, told = outcome(client, image.content)
            except (httpx.HTTPError, AssertionError) as exc:
                results.faults.append(f"{image.name}: {exc!r}")
                continue
            results.outcomes[came] += 1
            if came not in {"ready", "refused", *REASONS} or (image.is_whole and came != "ready"):
                results.faults.append(f"{image.name}: {came}: {told}")


def stand_by(url: str, stop: threading.Event, results: Found) -> None:
    """Post a good image, wait for it, and again."""
    photograph = samples.encoded(samples.corners(1200, 800))
    with httpx.Client(base_url=url, headers={"user-id": "bystander"}, timeout=60) as client:
        while not stop.is_set():
            began = time.monotonic()
            came, told = outcome(client, photograph)
            results.waited.append(time.monotonic() - began)
            if came != "ready":
                results.faults.append(f"a bystander's image: {told}")
            stop.wait(0.1)


def run(data: Path, count: int) -> Found:
    results, stop, images = Found(), threading.Event(), Queue[Generated]()
    for image in generated(SEED, count):
        images.put(image)
    server = start(LOCAL, "--data-dir", str(data))
    began = psutil.Process(server.process.pid).create_time()
    bystander = threading.Thread(target=stand_by, args=(server.url, stop, results))
    senders = [
        threading.Thread(target=send, args=(server.url, f"sender {number}", images, results))
        for number in range(SENDERS)
    ]
    try:
        bystander.start()
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        stop.set()
        bystander.join()
        assert psutil.Process(server.process.pid).create_time() == began
        wait_until_ready(server.url)
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'status="5' not in metrics
    finally:
        assert server.stop() == 0
    return results


def test_of_generated_images_none_harms_the_server_or_its_other_users(tmp_path: Path) -> None:
    """Whole images are shown, damaged ones are shown or fail with a reason; no 5xx, no crash."""
    results = run(tmp_path, COUNT or IN_CI)
    sys.stderr.write(f"seed {SEED}: {results}\n")
    assert results.faults == []
    assert sum(results.outcomes.values()) == (COUNT or IN_CI)
    if COUNT:  # a machine that tests run on has other work to do
        assert results.p99 < MAX_P99_SECONDS
