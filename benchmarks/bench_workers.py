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
    found: dict[tuple[str, str], list[Outcome]] = {}
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
                found.setdefault(("comments", workers), []).append(
                    _measured(url, comment, scale, "POST")
                )
                found.setdefault(("feed", workers), []).append(_measured(url, pages, scale, "GET"))
    yield _rates("comments", found["comments", "2"], found["comments", "1"], 1.0)
    two, one = (
        statistics.median(outcome.p99 for outcome in found["comments", workers])
        for workers in ("2", "1")
    )
    detail = f"{two:.1f} / {one:.1f} ms, {sizes.clients} clients"
    yield Line("2 workers / 1: comments, p99", two / one, 1.5, "<=", detail)
    yield _rates("pages of the feed", found["feed", "2"], found["feed", "1"], None)


def _rates(what: str, two: list[Outcome], one: list[Outcome], target: float | None) -> Line:
    ours, theirs = (statistics.median(one.per_second for one in side) for side in (two, one))
    detail = f"{ours:.0f} / {theirs:.0f} a second"
    return Line(f"2 workers / 1: {what}", ours / theirs, target, ">=", detail)


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
