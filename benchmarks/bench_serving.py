"""Serving images, most of all bytes served: against nginx with the same files."""

import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psutil

import servers
from data import entries, write_ours
from image_poster.adapters.files.schema import Layout
from load import Load, run
from report import Found, Line, Skipped
from sizes import Scale

# A 600 and a 1600 of a photograph, and how much of nginx's rate is wanted.
_RENDITIONS = (("600", 53_000, 0.3), ("1600", 225_000, 0.65))
_POSTS = 50
# Of nginx's rate again, where nginx asks the service and then sends the file.
FRONT_TARGET = 0.9
_TOLD = (
    "--accel-redirect",
    "--trusted-proxies",
    "127.0.0.1",
    "--renditions-group",
    str(os.getgid()),
)


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """Small and large renditions."""
    if shutil.which("nginx") is None:
        yield Skipped(2 * len(_RENDITIONS), "nginx is not installed")
        return
    ids = write_ours(folder / "data", entries(_POSTS, 100))
    layout = Layout(folder / "data")
    with ExitStack() as stack:
        data = folder / "data"
        ours, our_pid = stack.enter_context(servers.ours(data, *_TOLD))
        front, front_pid = stack.enter_context(servers.front(folder / "front", ours, data))
        theirs, their_pid = stack.enter_context(servers.nginx(folder / "nginx"))
        for name, size, target in _RENDITIONS:
            for post_id in ids:
                path = layout.rendition(post_id, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(os.urandom(size))
                shutil.copy(path, folder / "nginx" / "files" / path.name)
            shown = [f"/images/{post_id}/{name}.jpg" for post_id in ids]
            sides = [
                Side(ours, [our_pid], shown),
                Side(front, [our_pid, front_pid], shown),
                Side(theirs, [their_pid], [f"/{post_id}.{name}.jpg" for post_id in ids]),
            ]
            mine, behind, others = measured(sides, scale)
            for results, label, goal in (
                (mine, "", target),
                (behind, ", sent by it", FRONT_TARGET),
            ):
                yield Line(
                    f"images of {size // 1000} kB{label} / nginx",
                    results.per_second / others.per_second,
                    goal,
                    ">=",
                    f"{results} / {others}",
                )


class Side(NamedTuple):
    """A server, its processes, and what it is asked for in turn."""

    url: str
    pids: list[int]
    paths: list[str]


class Served(NamedTuple):
    """Answers a second, and seconds of the server's processor time for each. The second figure
    varies less between runs on a busy machine."""

    per_second: float
    processor: float

    def __str__(self) -> str:
        return f"{self.per_second:.0f} a second ({self.processor * 1e6:.0f} µs)"


def measured(sides: list[Side], scale: Scale) -> list[Served]:
    """All in turn, medians of some rounds."""
    results: list[list[Served]] = [[] for _ in sides]
    for _ in range(scale.feed.rounds):
        for side, rounds in zip(sides, results, strict=True):
            rounds.append(_served(side, scale.feed.seconds))
    return [Served(*map(statistics.median, zip(*rounds, strict=True))) for rounds in results]


def _served(side: Side, seconds: float) -> Served:
    began = _processor(side.pids)
    outcome = run(Load(side.url, side.paths, seconds, warm_up_seconds=0))
    assert not outcome.errors
    spent = _processor(side.pids) - began
    return Served(outcome.per_second, spent / (outcome.per_second * seconds))


def _processor(pids: list[int]) -> float:
    return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids))
