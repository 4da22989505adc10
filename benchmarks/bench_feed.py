"""The feed: against FastAPI, against the same bytes from memory, deep against shallow, much against
little."""

import json
import statistics
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import servers
from data import entries, write_ours, write_peers
from load import Load, Outcome, run
from report import Line

POSTS, COMMENTS = 100_000, 1_000_000
FEW_POSTS, FEW_COMMENTS = 1_000, 10_000
DEEP_PAGE = 500
ROUNDS = 3


def lines(folder: Path) -> Iterator[Line]:
    """All comparisons of the feed, each side measured in turn, `ROUNDS` times; medians count."""
    write_ours(folder / "much", entries(POSTS, COMMENTS))
    write_ours(folder / "little", entries(FEW_POSTS, FEW_COMMENTS))
    write_peers(folder / "peer.db", entries(POSTS, COMMENTS))
    with ExitStack() as stack:
        much, _ = stack.enter_context(servers.ours(folder / "much"))
        little, _ = stack.enter_context(servers.ours(folder / "little"))
        peer = stack.enter_context(servers.fastapi(folder / "peer.db"))
        body = folder / "page.json"
        body.write_bytes(_get(f"{much}/posts"))
        memory, _ = stack.enter_context(servers.same_bytes(body))
        deep = _path_of_page(much, DEEP_PAGE)
        sides = {
            "much": (much, "/posts"),
            "little": (little, "/posts"),
            "peer": (peer, "/posts"),
            "memory": (memory, "/posts"),
            "deep": (much, deep),
        }
        found = _measured(sides)
    yield from _compared(found)


def _measured(sides: dict[str, tuple[str, str]]) -> dict[str, Outcome]:
    rounds: dict[str, list[Outcome]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, (url, path) in sides.items():
            rounds[name].append(run(Load(url, [path], seconds=3)))
    return {name: _median(outcomes) for name, outcomes in rounds.items()}


def _median(outcomes: list[Outcome]) -> Outcome:
    assert not any(outcome.errors for outcome in outcomes)
    return Outcome(
        per_second=statistics.median(outcome.per_second for outcome in outcomes),
        p50=statistics.median(outcome.p50 for outcome in outcomes),
        p99=statistics.median(outcome.p99 for outcome in outcomes),
        errors=0,
    )


def _compared(found: dict[str, Outcome]) -> Iterator[Line]:
    much, little, peer = found["much"], found["little"], found["peer"]
    memory, deep = found["memory"], found["deep"]
    yield Line(
        f"feed page, {POSTS:,} posts, {COMMENTS:,} comments / FastAPI",
        much.per_second / peer.per_second,
        4,
        ">=",
        f"{much.per_second:.0f} / {peer.per_second:.0f} requests/s",
    )
    yield Line(
        "feed page / the same bytes from memory",
        much.per_second / memory.per_second,
        0.6,
        ">=",
        f"{much.per_second:.0f} / {memory.per_second:.0f} requests/s",
    )
    yield Line(
        f"feed p99, {COMMENTS:,} comments / {FEW_COMMENTS:,}",
        much.p99 / little.p99,
        1.3,
        "<=",
        f"{much.p99:.2f} / {little.p99:.2f} ms",
    )
    yield Line(
        f"page {DEEP_PAGE} / page 1, time",
        much.per_second / deep.per_second,
        1.1,
        "<=",
        f"{1000 / deep.per_second:.3f} / {1000 / much.per_second:.3f} ms",
    )


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return answer.read()  # type: ignore[no-any-return]


def _path_of_page(url: str, page: int) -> str:
    path = "/posts"
    for _ in range(page - 1):
        path = f"/posts?cursor={json.loads(_get(url + path))['next']}"
    return path
