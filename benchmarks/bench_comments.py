"""Durable comments: against a bare SQLite loop, against FastAPI, hot against cold, and with limits
on what one caller may take against none."""

import os
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from multiprocessing import get_context
from pathlib import Path

import psutil

import servers
from data import NOW, TEXT, entries, write_ours, write_peers
from image_poster.adapters.sqlite.database import connect
from image_poster.domain.comments import Comment, encode_comment, with_newest
from image_poster.domain.ids import new_id
from load import SERVER_CORES, Load, run
from report import Line
from sizes import Scale

BODY = f'{{"content":"{TEXT}"}}'


def lines(folder: Path, scale: Scale) -> Iterator[Line]:
    """All comparisons of writing comments."""
    sizes = scale.comments
    with_hot = entries(sizes.posts, sizes.comments, hot_comments=sizes.hot_comments)
    ids = write_ours(folder / "ours", with_hot)
    write_ours(folder / "bare", entries(sizes.posts, sizes.comments))
    peer_ids = write_peers(folder / "peer.db", entries(sizes.posts, sizes.comments))
    bare, over_http, peers, hot, cold = [], [], [], [], []
    with ExitStack() as stack:
        url, _ = stack.enter_context(servers.ours(folder / "ours"))
        peer = stack.enter_context(servers.fastapi(folder / "peer.db"))
        for _ in range(sizes.rounds):
            bare.append(_bare_loop(folder / "bare", sizes.seconds))
            over_http.append(_comments(url, ids[:-1], scale))
            peers.append(_comments(peer, peer_ids, scale))
            hot.append(_comments(url, ids[-1:], scale))
            cold.append(_comments(url, ids[:1], scale))
    loop, ours, theirs = (statistics.median(side) for side in (bare, over_http, peers))
    hottest, coldest = statistics.median(hot), statistics.median(cold)
    yield Line(
        f"comments over HTTP, {sizes.clients} clients / bare SQLite loop",
        ours / loop,
        1,
        ">=",
        f"{ours:.0f} / {loop:.0f} a second",
    )
    yield Line(
        f"comments over HTTP, {sizes.clients} clients / FastAPI",
        ours / theirs,
        5,
        ">=",
        f"{ours:.0f} / {theirs:.0f} a second",
    )
    yield Line(
        f"comments on a post with {sizes.hot_comments:,} / on a cold one",
        hottest / coldest,
        0.95,
        ">=",
        f"{hottest:.0f} / {coldest:.0f} a second",
    )

    yield _limits(folder, ids[:-1], scale)


# None that is met, so that all is counted and nothing refused.
_LIMITS = ("--writes-per-minute", "9999999", "--requests-per-minute", "9999999")


def _limits(folder: Path, ids: list[str], scale: Scale) -> Line:
    """By the server's own processor time, since rates differ from run to run by more than this."""
    write_ours(folder / "limited", entries(scale.comments.posts, scale.comments.comments))
    limited_ids = _ids(folder / "limited")
    with ExitStack() as stack:
        free = (*stack.enter_context(servers.ours(folder / "ours")), folder / "ours", ids)
        limited = stack.enter_context(servers.ours(folder / "limited", *_LIMITS))
        sides = [(*limited, folder / "limited", limited_ids), free]
        times: list[list[float]] = [[], []]
        for _ in range(scale.comments.rounds):
            for side, side_times in zip(sides, times, strict=True):
                side_times.append(_processor_time(*side, scale))
    on, off = map(statistics.median, times)
    return Line(
        "processor time of a comment, limits on / off",
        on / off,
        1.03,
        "<=",
        f"{on * 1e6:.0f} / {off * 1e6:.0f} µs",
    )


def _processor_time(url: str, pid: int, data_dir: Path, ids: list[str], scale: Scale) -> float:
    """Of the server, in seconds a comment."""
    server, before = psutil.Process(pid), count_comments(data_dir)
    began = sum(server.cpu_times()[:2])
    _comments(url, ids, scale)
    return float(sum(server.cpu_times()[:2]) - began) / (count_comments(data_dir) - before)


def count_comments(data_dir: Path) -> int:
    """The number of comments in a database."""
    with closing(connect(data_dir / "image_poster.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM comments").fetchone()[0])


def _ids(data_dir: Path) -> list[str]:
    with closing(connect(data_dir / "image_poster.db")) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM posts")]


def _comments(url: str, ids: list[str], scale: Scale) -> float:
    paths = [f"/posts/{post_id}/comments" for post_id in ids]
    seconds, clients = scale.comments.seconds, scale.comments.clients
    load = Load(url, paths, seconds, scale.warm_up_seconds, clients, method="POST", body=BODY)
    outcome = run(load)
    assert not outcome.errors
    return outcome.per_second


def _bare_loop(data_dir: Path, seconds: float) -> float:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_loop, (str(data_dir), seconds))


def _loop(data_dir: str, seconds: float) -> float:
    """The bare writes: no HTTP, no validation, no threads. It writes a comment with its post's
    count and latest comments, one durable transaction each. Statements and settings are ours."""
    os.sched_setaffinity(0, SERVER_CORES)
    connection = connect(Path(data_dir, "image_poster.db"))
    ids = [row[0] for row in connection.execute("SELECT id FROM posts")]
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        _add(connection, ids[done % len(ids)])
        done += 1
    connection.close()
    return done / (time.perf_counter() - began)


def _add(connection: sqlite3.Connection, post_id: str) -> None:
    comment = Comment(new_id(), post_id, "bench", TEXT, NOW)
    doc = encode_comment(comment)
    connection.execute("BEGIN IMMEDIATE")
    _, _, latest = connection.execute(
        "SELECT status, creator, latest FROM posts WHERE id = ?", (post_id,)
    ).fetchone()
    connection.execute(
        "INSERT INTO comments (post_id, id, creator, doc) VALUES (?, ?, ?, ?)",
        (post_id, comment.id, comment.creator, doc),
    )
    connection.execute(
        "UPDATE posts SET total_comments = total_comments + 1, latest = ? WHERE id = ?",
        (with_newest(latest, doc), post_id),
    )
    connection.execute("COMMIT")
