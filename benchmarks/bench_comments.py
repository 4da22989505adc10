"""Durable comments: against a bare SQLite loop, against FastAPI, hot against cold."""

import os
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import servers
from data import HOT_COMMENTS, NOW, TEXT, entries, write_ours, write_peers
from image_poster.adapters.sqlite.database import connect
from image_poster.domain.comments import Comment, encode_comment, with_newest
from image_poster.domain.ids import new_id
from load import SERVER_CORES, Load, run
from report import Line

CLIENTS = 64
SECONDS = 4.0
ROUNDS = 3
BODY = f'{{"content":"{TEXT}"}}'


def lines(folder: Path) -> Iterator[Line]:
    """All comparisons of writing comments."""
    ids = write_ours(folder / "ours", entries(1000, 10_000, hot=True))
    write_ours(folder / "bare", entries(1000, 10_000))
    peer_ids = write_peers(folder / "peer.db", entries(1000, 10_000))
    bare, over_http, peers, hot, cold = [], [], [], [], []
    with ExitStack() as stack:
        url, _ = stack.enter_context(servers.ours(folder / "ours"))
        peer = stack.enter_context(servers.fastapi(folder / "peer.db"))
        for _ in range(ROUNDS):
            bare.append(_bare_loop(folder / "bare"))
            over_http.append(_comments(url, ids[:-1]))
            peers.append(_comments(peer, peer_ids))
            hot.append(_comments(url, ids[-1:]))
            cold.append(_comments(url, ids[:1]))
    loop, ours, theirs = (statistics.median(side) for side in (bare, over_http, peers))
    hottest, coldest = statistics.median(hot), statistics.median(cold)
    yield Line(
        f"comments over HTTP, {CLIENTS} clients / bare SQLite loop",
        ours / loop,
        1,
        ">=",
        f"{ours:.0f} / {loop:.0f} a second",
    )
    yield Line(
        f"comments over HTTP, {CLIENTS} clients / FastAPI",
        ours / theirs,
        5,
        ">=",
        f"{ours:.0f} / {theirs:.0f} a second",
    )
    yield Line(
        f"comments on a post with {HOT_COMMENTS:,} / on a cold one",
        hottest / coldest,
        0.95,
        ">=",
        f"{hottest:.0f} / {coldest:.0f} a second",
    )


def _comments(url: str, ids: list[str]) -> float:
    paths = [f"/posts/{post_id}/comments" for post_id in ids]
    outcome = run(Load(url, paths, CLIENTS, SECONDS, method="POST", body=BODY))
    assert not outcome.errors
    return outcome.per_second


def _bare_loop(data_dir: Path) -> float:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_loop, (str(data_dir),))


def _loop(data_dir: str) -> float:
    """No HTTP, no validation, no threads: a comment and its post's count and latest comments, one
    durable transaction each, with the same statements and settings as ours."""
    os.sched_setaffinity(0, SERVER_CORES)
    connection = connect(Path(data_dir, "image_poster.db"))
    ids = [row[0] for row in connection.execute("SELECT id FROM posts")]
    began, done = time.perf_counter(), 0
    while time.perf_counter() < began + SECONDS:
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
