"""A walk over `top` while ranks move: the cost of its pages against page 1.

The server caches pages until the next write. So a comment precedes each request for page 1, and
each request for the pages of the walk. The fastest time of each page counts, because other work on
the machine must not.
"""

import http.client
import json
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import servers
from data import TEXT, entries, write_ours
from image_poster.adapters.sqlite.comments import RankedPost, store_count
from image_poster.adapters.sqlite.database import connect
from image_poster.domain.feed import EPOCH_MS, CurrentRank
from report import Line
from sizes import Scale

_HOUR_MS = 3600 * 1000
_PASSES = 5


def lines(folder: Path, scale: Scale) -> Iterator[Line]:
    """The mean over a walk, and its slowest page."""
    sizes = scale.walks
    ids = write_ours(folder / "data", entries(sizes.posts, sizes.comments))
    _move_ranks(folder / "data", sizes.changes)
    with servers.ours(folder / "data") as (url, _):
        reader = _Reader(url, ids[-1])
        first = min(reader.timed("/posts", fresh=True)[0] for _ in range(sizes.pages))
        _, page = reader.timed("/posts")
        _move_ranks(folder / "data", sizes.changes // 100)  # while it is being walked
        pages = reader.walked(page["next"], sizes.pages)
    mean, slowest = statistics.mean(pages), max(pages)
    named = f"walk, {sizes.changes:,} ranks moved in the last hour"
    shown = f"of {len(pages)} pages, page 1 {1000 * first:.2f} ms"
    yield Line(f"{named}: mean / page 1", mean / first, 2, "<=", f"{1000 * mean:.2f} ms {shown}")
    yield Line(f"{named}: slowest / page 1", slowest / first, 10, "<=", f"{1000 * slowest:.2f} ms")


def _move_ranks(data_dir: Path, changes: int) -> None:
    """So many changes within the last hour, most of them of few posts, as a writer would store
    them."""
    chance = random.Random(11)
    now_ms = time.time_ns() // 1_000_000
    with closing(connect(data_dir / "image_poster.db")) as connection:
        rows = connection.execute(
            "SELECT id, creator, total_comments FROM posts ORDER BY total_comments DESC LIMIT 20000"
        ).fetchall()
        connection.execute("BEGIN")
        (since,) = connection.execute("SELECT epoch FROM feed_clock").fetchone()
        began_ms = max(now_ms - _HOUR_MS, since * EPOCH_MS)
        for number in range(changes):
            at = min(int(chance.paretovariate(0.5)), len(rows)) - 1
            post_id, creator, total = rows[at]
            (row,) = connection.execute("SELECT since, latest FROM posts WHERE id = ?", (post_id,))
            since, latest = row
            post = RankedPost(post_id, creator, CurrentRank(total, since))
            at_ms = began_ms + (now_ms - began_ms) * number // changes
            store_count(connection, post, total + 1, latest, at_ms)
            rows[at] = (post_id, creator, total + 1)
        connection.execute("COMMIT")


class _Reader:
    """One after the other over one connection; `commented` gets the comments between."""

    def __init__(self, url: str, commented: str) -> None:
        address = urlsplit(url)
        self._http = http.client.HTTPConnection(str(address.hostname), address.port)
        self._commented = commented

    def timed(self, path: str, *, fresh: bool = False) -> tuple[float, dict[str, Any]]:
        """Seconds, and the page."""
        if fresh:
            self._comment()
        began = time.perf_counter()
        self._http.request("GET", path)
        body = self._http.getresponse().read()
        return time.perf_counter() - began, json.loads(body)

    def walked(self, cursor: str | None, pages: int) -> list[float]:
        """The fastest time of each page."""
        times: list[list[float]] = []
        cursors: list[str] = []
        while cursor is not None and len(cursors) < pages:
            cursors.append(cursor)
            _, page = self.timed(f"/posts?cursor={cursor}")
            cursor = page["next"]
        for _ in range(_PASSES):
            self.timed("/posts", fresh=True)  # the first look after a write is not the walk's
            times.append([self.timed(f"/posts?cursor={cursor}")[0] for cursor in cursors])
        return [min(page) for page in zip(*times, strict=True)]

    def _comment(self) -> None:
        body = json.dumps({"content": TEXT})
        headers = {"content-type": "application/json", "user-id": "bench"}
        self._http.request("POST", f"/posts/{self._commented}/comments", body, headers)
        answer = self._http.getresponse()
        answer.read()
        assert answer.status == 201, answer.status
