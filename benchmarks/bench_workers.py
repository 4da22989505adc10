"""`--workers 2` against one worker: both may use both cores, and so may the load."""

import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import servers
from bench_comments import BODY
from bench_feed import page_paths
from data import entries, write_ours
from load import Load, Outcome, run
from report import Line
from sizes import Scale

BOTH_CORES = {0, 1}


def lines(folder: Path, scale: Scale) -> Iterator[Line]:
    """Comments, their slowest, and pages of the feed."""
    sizes = scale.comments
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    with ExitStack() as stack:
        sides = []
        for workers in ("1", "2"):
            data = folder / workers
            ids = write_ours(data, entries(sizes.posts, sizes.comments))
            started = servers.ours(data, "--workers", workers, cores=BOTH_CORES)
            url, _ = stack.enter_context(started)
            sides.append((workers, url, ids, page_paths(url, scale.feed.pages // 10)))
        for _ in range(sizes.rounds):
            for workers, url, ids, pages in sides:
                comment = [f"/posts/{post_id}/comments" for post_id in ids]
                outcomes.setdefault(("comments", workers), []).append(
                    _measured(url, comment, scale, "POST")
                )
                outcomes.setdefault(("feed", workers), []).append(
                    _measured(url, pages, scale, "GET")
                )
    yield _rates("comments", outcomes["comments", "2"], outcomes["comments", "1"], 1.0)
    two, single = (
        statistics.median(outcome.p99 for outcome in outcomes["comments", workers])
        for workers in ("2", "1")
    )
    detail = f"{two:.1f} / {single:.1f} ms, {sizes.clients} clients"
    yield Line("2 workers / 1: comments, p99", two / single, 1.5, "<=", detail)
    yield _rates("pages of the feed", outcomes["feed", "2"], outcomes["feed", "1"], None)


def _rates(label: str, two: list[Outcome], single: list[Outcome], target: float | None) -> Line:
    ours, theirs = (
        statistics.median(outcome.per_second for outcome in side) for side in (two, single)
    )
    detail = f"{ours:.0f} / {theirs:.0f} a second"
    return Line(f"2 workers / 1: {label}", ours / theirs, target, ">=", detail)


def _measured(url: str, paths: list[str], scale: Scale, method: str) -> Outcome:
    body = BODY if method == "POST" else ""
    sizes = scale.comments
    outcome = run(
        Load(
            url,
            paths,
            sizes.seconds,
            scale.warm_up_seconds,
            sizes.clients,
            method=method,
            body=body,
            cores=sorted(BOTH_CORES),
        )
    )
    assert not outcome.errors
    return outcome
