"""Serving images, most of all bytes served: against nginx with the same files."""

import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import servers
from data import entries, write_ours
from image_poster.adapters.files.schema import Layout
from load import Load, run
from report import Found, Line, Skipped
from sizes import Scale

# A 600 and a 1600 of a photograph, and how much of nginx's rate is wanted.
_RENDITIONS = (("600", 53_000, 0.3), ("1600", 225_000, 0.65))
_POSTS = 50


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """Rates of both, in turn, medians of some rounds."""
    if shutil.which("nginx") is None:
        yield Skipped(len(_RENDITIONS), "nginx is not installed")
        return
    ids = write_ours(folder / "data", entries(_POSTS, 100))
    layout = Layout(folder / "data")
    with ExitStack() as stack:
        ours, _ = stack.enter_context(servers.ours(folder / "data"))
        theirs, _ = stack.enter_context(servers.nginx(folder / "nginx"))
        for name, size, target in _RENDITIONS:
            for post_id in ids:
                path = layout.rendition(post_id, name)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(os.urandom(size))
                shutil.copy(path, folder / "nginx" / "files" / path.name)
            sides = {
                ours: [f"/images/{post_id}/{name}.jpg" for post_id in ids],
                theirs: [f"/{post_id}.{name}.jpg" for post_id in ids],
            }
            mine, others = _rates(sides, scale)
            yield Line(
                f"images of {size // 1000} kB / nginx",
                mine / others,
                target,
                ">=",
                f"{mine:.0f} / {others:.0f} a second",
            )


def _rates(sides: dict[str, list[str]], scale: Scale) -> list[float]:
    found: dict[str, list[float]] = {url: [] for url in sides}
    for _ in range(scale.feed.rounds):
        for url, paths in sides.items():
            outcome = run(Load(url, paths, scale.feed.seconds, scale.warm_up_seconds))
            assert not outcome.errors
            found[url].append(outcome.per_second)
    return [statistics.median(rates) for rates in found.values()]
