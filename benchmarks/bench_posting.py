"""Posting: how long until the image can be fetched, against Directus; how many posts a minute; and
what those cost who wait for one."""

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil

import servers
from bench_images import BOTH_CORES, make_photo
from image_poster.adapters.sqlite.database import connect
from image_poster.domain.ids import new_id
from image_poster.domain.posts import Post, PostStatus, encode_post
from report import Found, Line, Skipped
from sizes import PostingScale, Scale

USER = {"user-id": "bench"}
# Of Directus's time for a small image and a large one; posts of ours a minute; of one core.
FETCHED_TARGETS, A_MINUTE_TARGETS, WAITERS_TARGET = (1.3, 1.2), (2_200, 1_000), 0.01
# Of the large one a camera's quality, of the small one what it has been sent through since.
_QUALITIES = (80, 84)
_THUMBNAIL = "width=600&height=600&fit=cover"
_NOW = "2026-11-29T12:00:00.000Z"
_NEVER = 2**62  # ms since 1970: when image work is due that is not to be done


class Side(NamedTuple):
    """A service, where it takes a form with an image in `field`, and how what it answered comes to
    be a square of 600."""

    url: str
    headers: dict[str, str]
    path: str
    field: str
    fetch: Callable[["Side", HTTPConnection, Any], bytes]


class Timed(NamedTuple):
    """Seconds until the post was answered, and until its image was fetched."""

    answered: float
    fetched: float


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """All comparisons of posting."""
    sizes, photos = scale.posting, [folder / "small.jpg", folder / "large.jpg"]
    for photo, size, quality in zip(photos, (sizes.small, sizes.large), _QUALITIES, strict=True):
        make_photo(photo, *size, quality=quality)
    with servers.ours(folder / "data", cores=BOTH_CORES) as (url, _):
        ours = our_side(url)
        yield from _until_fetched(ours, folder / "directus", photos, sizes)
        counts = (sizes.small_posts, sizes.large_posts)
        for photo, count, target in zip(photos, counts, A_MINUTE_TARGETS, strict=True):
            yield _a_minute(ours, photo, count, target, sizes.clients)
    yield _waiters(folder / "waited-for", sizes)


def our_side(url: str) -> Side:
    """The service at this URL."""
    return Side(url, USER, "/posts", "image", _our_image)


def _until_fetched(
    ours: Side, folder: Path, photos: list[Path], sizes: PostingScale
) -> Iterator[Found]:
    if why := servers.why_no_directus():
        yield Skipped(len(photos), why)
        return
    with servers.directus(folder, BOTH_CORES) as (url, token):
        headers = {"authorization": f"Bearer {token}"}
        theirs = Side(url, headers, "/files", "file", _their_image)
        for photo, target in zip(photos, FETCHED_TARGETS, strict=True):
            mine, others = _in_turn([ours, theirs], photo, sizes.rounds)
            yield Line(
                f"{_size(photo)} posted until fetched / Directus",
                mine.fetched / others.fetched,
                target,
                "<=",
                f"{mine.fetched * 1000:.0f} / {others.fetched * 1000:.0f} ms, "
                f"answered after {mine.answered * 1000:.0f} / {others.answered * 1000:.0f}",
            )


def _in_turn(sides: list[Side], photo: Path, rounds: int) -> list[Timed]:
    """Medians of some rounds, and of one more that does not count."""
    results: list[list[Timed]] = [[] for _ in sides]
    for _ in range(rounds + 1):
        for side, times in zip(sides, results, strict=True):
            times.append(_posted_and_fetched(side, photo))
    return [Timed(*map(median, zip(*times[1:], strict=True))) for times in results]


def _posted_and_fetched(side: Side, photo: Path) -> Timed:
    """Over one connection, as people's programs do it."""
    head = f'--b\r\nContent-Disposition: form-data; name="{side.field}"; filename="p.jpg"\r\n'
    body = f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + photo.read_bytes() + b"\r\n--b--"
    headers = {**side.headers, "content-type": "multipart/form-data; boundary=b"}
    with closing(_connected(side.url)) as connection:
        began = time.perf_counter()
        answer = json.loads(_asked(connection, "POST", side.path, headers, body))
        answered = time.perf_counter()
        assert side.fetch(side, connection, answer)[:2] == b"\xff\xd8"
        return Timed(answered - began, time.perf_counter() - began)


def _our_image(side: Side, connection: HTTPConnection, answer: Any) -> bytes:
    ready = json.loads(_asked(connection, "GET", f"/posts/{answer['id']}?wait=20", side.headers))
    return _asked(connection, "GET", ready["image"]["url"], side.headers)


def _their_image(side: Side, connection: HTTPConnection, answer: Any) -> bytes:
    place = f"/assets/{answer['data']['id']}?{_THUMBNAIL}"
    return _asked(connection, "GET", place, side.headers)


def _connected(url: str) -> HTTPConnection:
    return HTTPConnection(urlsplit(url).netloc, timeout=60)


def _asked(
    connection: HTTPConnection, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> bytes:
    connection.request(method, path, body or None, headers)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status // 100 == 2, content
    return content


def _size(photo: Path) -> str:
    size = photo.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _a_minute(ours: Side, photo: Path, count: int, target: int, clients: int) -> Line:
    per_minute = posts_a_minute(ours, photo, count, clients)
    return Line(
        f"posts of {_size(photo)} a minute on two cores / {target:,}",
        per_minute / target,
        1,
        ">=",
        f"{per_minute:.0f} a minute, {clients} clients",
    )


def posts_a_minute(side: Side, photo: Path, count: int, clients: int) -> float:
    """Post `count` images from so many clients. Each fetches its image before its next post."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: _posted_and_fetched(side, photo), range(count)))
    return count * 60 / (time.perf_counter() - began)


def _waiters(folder: Path, sizes: PostingScale) -> Line:
    """The server's load while each of many clients waits once for a post that does not come.
    Requests and answers are part of it."""
    with servers.ours(folder) as (url, pid), ExitStack() as stack:
        post_ids = _unfinished(folder, sizes.waiters)
        waiting = [stack.enter_context(closing(_connected(url))) for _ in post_ids]
        for connection, post_id in zip(waiting, post_ids, strict=True):
            _asked(connection, "GET", f"/posts/{post_id}", USER)

        def wait() -> None:
            for connection, post_id in zip(waiting, post_ids, strict=True):
                path = f"/posts/{post_id}?wait={sizes.wait_seconds:g}"
                connection.request("GET", path, headers=USER)
            for connection in waiting:
                assert b'"status":"processing"' in connection.getresponse().read()

        alone = _share(pid, lambda: time.sleep(sizes.wait_seconds))
        share = _share(pid, wait)
    return Line(
        f"{sizes.waiters} who wait {sizes.wait_seconds:g} s in vain: share of a core / "
        f"{WAITERS_TARGET:.0%}",
        share / WAITERS_TARGET,
        1,
        "<=",
        f"{share:.2%}, {alone:.2%} without them",
    )


def _unfinished(data_dir: Path, count: int) -> list[str]:
    """Posts whose image work is not due, in the database of a server that runs (at its start it
    would make them due)."""
    posts = [
        Post(new_id(), PostStatus.PROCESSING, "", "", USER["user-id"], _NOW) for _ in range(count)
    ]
    with closing(connect(data_dir / "image_poster.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO posts (id, status, creator, head, due_at) VALUES (?, ?, ?, ?, ?)",
            [(post.id, post.status, post.creator, encode_post(post), _NEVER) for post in posts],
        )
        connection.execute("COMMIT")
    return [post.id for post in posts]


def _share(pid: int, while_this: Callable[[], object]) -> float:
    """The share of a core that a process uses meanwhile: at least a tick of the kernel's clock."""
    before, began = _processor(pid), time.perf_counter()
    while_this()
    spent = max(_processor(pid) - before, 1 / os.sysconf("SC_CLK_TCK"))
    return spent / (time.perf_counter() - began)


def _processor(pid: int) -> float:
    return float(sum(psutil.Process(pid).cpu_times()[:2]))
