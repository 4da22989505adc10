"""The feed: against FastAPI, against the same bytes from memory, deep against shallow, much against
little.

A page that was asked for before is remembered until the next write. So that this does not decide
the comparisons, all but one ask for several hundred different pages in turn, more than are
remembered.
"""

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
from sizes import FeedScale, Scale

_CODINGS = ("identity", "gzip", "br")


def lines(folder: Path, scale: Scale) -> Iterator[Line]:
    """All comparisons of the feed, each side measured in turn, some rounds; medians count."""
    feed = scale.feed
    write_ours(folder / "much", entries(feed.posts, feed.comments))
    write_ours(folder / "little", entries(feed.few_posts, feed.few_comments))
    write_peers(folder / "peer.db", entries(feed.posts, feed.comments))
    with ExitStack() as stack:
        much, _ = stack.enter_context(servers.ours(folder / "much"))
        little, _ = stack.enter_context(servers.ours(folder / "little"))
        peer = stack.enter_context(servers.fastapi(folder / "peer.db"))
        body = folder / "page.json"
        body.write_bytes(_get(f"{much}/posts"))
        memory, _ = stack.enter_context(servers.same_bytes(body))
        pages = page_paths(much, feed.deep_page + feed.pages)
        sides = {
            "first": (much, ["/posts"]),
            "much": (much, pages[: feed.pages]),
            "deep": (much, pages[feed.deep_page :]),
            "little": (little, page_paths(little, feed.pages)),
            "peer": (peer, page_paths(peer, feed.pages)),
            "memory": (memory, ["/posts"]),
        }
        outcomes = _measured(sides, scale)
        compressed = list(_compressed(much, pages[: feed.pages], scale))
    yield from _compared(outcomes, feed)
    yield from compressed


def _compressed(url: str, pages: list[str], scale: Scale) -> Iterator[Line]:
    """Less to send, and what that costs the server."""
    plain, gzipped, best = (_size(f"{url}/posts?limit=100", coding) for coding in _CODINGS)
    sizes = f"{plain:,} bytes, gzip {gzipped:,}, brotli {best:,}"
    yield Line("a page of 100 posts: brotli / as it is, bytes", best / plain, 0.15, "<=", sizes)
    for label, paths, target in (
        ("a remembered page: brotli / as it is, requests/s", ["/posts"], 0.8),
        ("pages not asked for before: brotli / as it is, requests/s", pages, None),
    ):
        speeds = [_speed(url, paths, coding, scale) for coding in ("identity", "br")]
        detail = f"{speeds[1]:.0f} / {speeds[0]:.0f} requests/s"
        yield Line(label, speeds[1] / speeds[0], target, ">=", detail)


def _speed(url: str, paths: list[str], coding: str, scale: Scale) -> float:
    load = Load(url, paths, scale.feed.seconds, scale.warm_up_seconds, accept_encoding=coding)
    return _median([run(load) for _ in range(scale.feed.rounds)]).per_second


def _size(url: str, coding: str) -> int:
    request = urllib.request.Request(url, headers={"accept-encoding": coding})
    with urllib.request.urlopen(request) as answer:
        return len(answer.read())


def _measured(sides: dict[str, tuple[str, list[str]]], scale: Scale) -> dict[str, Outcome]:
    rounds: dict[str, list[Outcome]] = {name: [] for name in sides}
    for _ in range(scale.feed.rounds):
        for name, (url, paths) in sides.items():
            rounds[name].append(run(Load(url, paths, scale.feed.seconds, scale.warm_up_seconds)))
    return {name: _median(outcomes) for name, outcomes in rounds.items()}


def _median(outcomes: list[Outcome]) -> Outcome:
    assert not any(outcome.errors for outcome in outcomes)
    return Outcome(
        per_second=statistics.median(outcome.per_second for outcome in outcomes),
        p50=statistics.median(outcome.p50 for outcome in outcomes),
        p99=statistics.median(outcome.p99 for outcome in outcomes),
        p999=statistics.median(outcome.p999 for outcome in outcomes),
        errors=0,
    )


def _compared(outcomes: dict[str, Outcome], feed: FeedScale) -> Iterator[Line]:
    first, memory = outcomes["first"].per_second, outcomes["memory"].per_second
    much, little, peer, deep = (outcomes[name] for name in ("much", "little", "peer", "deep"))
    yield Line(
        f"feed pages, {feed.posts:,} posts, {feed.comments:,} comments / FastAPI",
        much.per_second / peer.per_second,
        4,
        ">=",
        f"{much.per_second:.0f} / {peer.per_second:.0f} requests/s",
    )
    yield Line(
        "first page again and again / the same bytes from memory",
        first / memory,
        0.6,
        ">=",
        f"{first:.0f} / {memory:.0f} requests/s",
    )
    yield Line(
        "pages not asked for before / the same bytes from memory",
        much.per_second / memory,
        None,
        ">=",
        f"{much.per_second:.0f} / {memory:.0f} requests/s",
    )
    yield Line(
        f"feed p99, {feed.comments:,} comments / {feed.few_comments:,}",
        much.p99 / little.p99,
        1.3,
        "<=",
        f"{much.p99:.2f} / {little.p99:.2f} ms",
    )
    yield Line(
        f"pages from {feed.deep_page} on / pages from 1 on, time",
        much.per_second / deep.per_second,
        1.1,
        "<=",
        f"{1000 / deep.per_second:.3f} / {1000 / much.per_second:.3f} ms",
    )


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def page_paths(url: str, count: int) -> list[str]:
    """The paths of the first `count` pages, found by following the cursors."""
    paths = ["/posts"]
    while len(paths) < count:
        paths.append(f"/posts?cursor={json.loads(_get(url + paths[-1]))['next']}")
    return paths
