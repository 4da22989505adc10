"""The feed for one caller, who blocks a hundred users, beside the feed for everybody.

Both are asked for in turn in three situations: the first page again and again, which is cached;
more pages than are cached; and the first page while comments change it. One caller's blocks hit no
page. The other's hit each page a few times: a tenth of the users is blocked.
"""

import json
import random
import statistics
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

import servers
from bench_comments import BODY
from bench_feed import page_paths
from data import Entry, entries, write_ours
from load import Load, run
from report import Line
from sizes import Scale

_USERS, _BLOCKS = 1000, 100
_SEED = 5
# The names of callers, and what their blocks hit.
_CALLERS = {"none": "none hit", "some": "a few hit"}
_EVERYBODY = ""
# Of the time of the page that is the same for everybody.
_TARGET = 2


class Situation(NamedTuple):
    """The queries of the pages that are read in turn, and the comments a second meanwhile."""

    name: str
    queries: list[str]
    comments: int = 0


def lines(folder: Path, scale: Scale) -> Iterator[Line]:
    """Each situation, with blocks that hit nothing and with blocks that hit."""
    sizes = scale.feed
    ids = write_ours(folder / "data", _by_many(entries(sizes.few_posts, sizes.few_comments)))
    with servers.ours(folder / "data") as (url, _):
        _block(url, "none", [f"absent-{number}" for number in range(_BLOCKS)])
        _block(url, "some", [f"user-{number}" for number in range(_BLOCKS)])
        _check_blocks(url)
        queries = [path.partition("?")[2] for path in page_paths(url, sizes.pages)]
        for situation in (
            Situation("a cached page", queries[:1]),
            Situation("pages in turn", queries),
            Situation("while comments come", queries[:1], sizes.comments_meanwhile),
        ):
            yield from _compared(situation, _rates(situation, url, ids[-1], scale))


def _by_many(written: Iterator[Entry]) -> Iterator[Entry]:
    """The same posts and comments, each by one of many users."""
    chance, replace = random.Random(_SEED), msgspec.structs.replace

    def user() -> str:
        return f"user-{chance.randrange(_USERS)}"

    for post, comments in written:
        by_many = [replace(comment, creator=user()) for comment in comments]
        yield replace(post, creator=user()), by_many


def _block(url: str, caller: str, users: list[str]) -> None:
    for user in users:
        _ask(f"{url}/me/blocks/{user}", caller, "PUT")


def _check_blocks(url: str) -> None:
    """Check that one caller's blocks hit the first page, and the other's do not."""
    everybody = json.loads(_ask(f"{url}/posts", _EVERYBODY))["posts"]
    shown = {caller: json.loads(_ask(f"{url}/me/feed", caller))["posts"] for caller in _CALLERS}
    assert shown["none"] == everybody
    assert shown["some"] != everybody


def _ask(url: str, caller: str, method: str = "GET") -> bytes:
    headers = {"user-id": caller} if caller else {}
    with urllib.request.urlopen(urllib.request.Request(url, None, headers, method=method)) as sent:
        return bytes(sent.read())


def _rates(situation: Situation, url: str, commented: str, scale: Scale) -> dict[str, float]:
    """Pages a second for everybody and for each caller, in turn, medians of some rounds."""
    rates: dict[str, list[float]] = {caller: [] for caller in (_EVERYBODY, *_CALLERS)}
    for _ in range(scale.feed.rounds):
        for caller, rounds in rates.items():
            path = "/me/feed" if caller else "/posts"
            paths = [f"{path}?{query}" if query else path for query in situation.queries]
            read = Load(url, paths, scale.feed.seconds, scale.warm_up_seconds, user=caller)
            rounds.append(_beside_comments(read, commented, situation.comments))
    return {caller: statistics.median(rounds) for caller, rounds in rates.items()}


def _beside_comments(read: Load, commented: str, per_second: int) -> float:
    """Pages a second, while so many comments a second are written on one post."""
    paths = [f"/posts/{commented}/comments"]
    write = partial(
        Load, read.url, paths, read.seconds, read.warm_up_seconds, 4, method="POST", body=BODY
    )
    with ThreadPoolExecutor(1) if per_second else nullcontext() as thread:
        writing = thread.submit(run, write(per_second=per_second)) if thread else None
        outcome = run(read)
        assert not outcome.errors
        assert writing is None or not writing.result().errors
    return outcome.per_second


def _compared(situation: Situation, rates: dict[str, float]) -> Iterator[Line]:
    everybody = rates.pop(_EVERYBODY)
    for caller, rate in rates.items():
        yield Line(
            f"{situation.name}, {_BLOCKS} blocks, {_CALLERS[caller]}: /me/feed / /posts",
            everybody / rate,
            _TARGET,
            "<=",
            f"{1e6 / rate:.0f} / {1e6 / everybody:.0f} µs",
        )
