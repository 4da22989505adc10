"""The data folder: a start beside uploads that wait, and backups beside those who are served."""

import os
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import servers
from data import NOW, RENDERED, write_ours
from image_poster.adapters.files.schema import Layout
from image_poster.domain.ids import new_id
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.domain.posts import Post, PostStatus, encode_post, published_post
from load import SERVER_CORES, Load, Outcome, run
from report import Line
from sizes import Scale

_FEED_PER_SECOND = 100
_KILOBYTE = bytes(1000)
_METADATA = "filename cGhvdG8uanBn,filetype aW1hZ2UvanBlZw==,caption QXQgdGhlIGxha2U="


def lines(folder: Path, scale: Scale) -> Iterator[Line]:
    """All comparisons."""
    yield _starts(folder, scale)
    yield from _backups(folder, scale)


def _starts(folder: Path, scale: Scale) -> Line:
    """From the command to the first answer."""
    sizes = scale.data_folder
    write_ours(folder / "empty", iter(()))
    write_ours(folder / "waiting", iter(()))
    _reserve(folder / "waiting", sizes.waiting)
    empty, waiting = [], []
    for _ in range(sizes.starts):
        empty.append(_start(folder / "empty"))
        waiting.append(_start(folder / "waiting"))
    ours, bare = statistics.median(waiting), statistics.median(empty)
    return Line(
        f"start with {sizes.waiting:,} waiting uploads / with none",
        ours / bare,
        1.2,
        "<=",
        f"{ours * 1000:.0f} / {bare * 1000:.0f} ms",
    )


def _start(data_dir: Path) -> float:
    began = time.perf_counter()
    with servers.ours(data_dir) as (url, _), urllib.request.urlopen(f"{url}/readyz"):
        return time.perf_counter() - began


def _reserve(data_dir: Path, count: int) -> None:
    """Uploads of which some bytes have come."""
    layout, expires = Layout(data_dir), time.time_ns() // 1_000_000 + UPLOAD_KEPT_MS
    with closing(sqlite3.connect(data_dir / "image_poster.db")) as connection, connection:
        for _ in range(count):
            post = Post(new_id(), PostStatus.AWAITING_UPLOAD, "At the lake", "", "alice", NOW)
            connection.execute(
                "INSERT INTO posts (id, status, creator, head, due_at) VALUES (?, ?, ?, ?, 0)",
                (post.id, post.status, post.creator, encode_post(post)),
            )
            connection.execute(
                "INSERT INTO uploads (post_id, length, expires_at, metadata) VALUES (?, ?, ?, ?)",
                (post.id, 5_000_000, expires, _METADATA),
            )
            _write(layout.upload(post.id), 1)


def _backups(folder: Path, scale: Scale) -> Iterator[Line]:
    sizes = scale.data_folder
    data_dir, target = folder / "images", folder / "backup"
    _with_files(data_dir, sizes.images)
    with servers.ours(data_dir) as (url, _):
        first, p50, p99 = _beside_the_feed(url, data_dir, target, scale)
        seconds = [_back_up(data_dir, target) for _ in range(3)]
    second = statistics.median(seconds)
    yield Line(
        f"feed p99 at 100/s beside a backup of {sizes.images:,} images / 50 ms",
        p99 / 50,
        1,
        "<=",
        f"p50 {p50:.1f}, p99 {p99:.1f} ms",
    )
    yield Line(
        "a second backup / the first", second / first, 0.1, "<=", f"{second:.1f} / {first:.1f} s"
    )


def _with_files(data_dir: Path, count: int) -> None:
    """Ready posts with their files, of 150 kB together."""
    copies = (
        Post(new_id(), PostStatus.PROCESSING, "At the lake", "A lake", "alice", NOW)
        for _ in range(count)
    )
    ids = write_ours(data_dir, ((published_post(post, RENDERED), []) for post in copies))
    layout = Layout(data_dir)
    for post_id in ids:
        _write(layout.original(post_id), 90)
        for path, kilobytes in zip(layout.renditions(post_id), (20, 40), strict=True):
            _write(path, kilobytes)
    os.sync()


def _write(path: Path, kilobytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_KILOBYTE * kilobytes)


def _beside_the_feed(
    url: str, data_dir: Path, target: Path, scale: Scale
) -> tuple[float, float, float]:
    """The seconds of the backup, and the feed's times in milliseconds during the backup. The times
    are those of the worst load."""
    took: list[float] = []
    backing_up = threading.Thread(target=lambda: took.append(_back_up(data_dir, target)))
    backing_up.start()
    outcomes: list[Outcome] = []
    while backing_up.is_alive() or not outcomes:
        outcomes.append(
            run(
                Load(
                    url,
                    ["/posts"],
                    scale.data_folder.feed_seconds,
                    scale.warm_up_seconds,
                    per_second=_FEED_PER_SECOND,
                )
            )
        )
    backing_up.join()
    assert not any(outcome.errors for outcome in outcomes)
    return (
        took[0],
        max(outcome.p50 for outcome in outcomes),
        max(outcome.p99 for outcome in outcomes),
    )


def _back_up(data_dir: Path, target: Path) -> float:
    """By the command, on the server's core."""
    command = [sys.executable, "-m", "image_poster", "backup", str(target)]
    began = time.perf_counter()
    subprocess.run(
        [*command, "--data-dir", str(data_dir)],
        check=True,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, SERVER_CORES),
    )
    return time.perf_counter() - began
