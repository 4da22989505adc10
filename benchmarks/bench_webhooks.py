"""Comments with webhooks: with a receiver against none, and with bad receivers against none."""

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import servers
from bench_comments import BODY
from data import entries, write_ours
from load import Load, Outcome, run
from report import Line
from sizes import Scale

# Far below what one core can do: the times of requests are compared, not those of a queue.
_PER_SECOND = 400
_BAD = ("hang", "down", "gone")


def lines(folder: Path, scale: Scale) -> Iterator[Line]:
    """The rate with one receiver, and the 99th percentile at a fixed rate with each bad one."""
    none, accept = (
        statistics.median(outcome.per_second for outcome in side)
        for side in _both(folder, "accept", scale, per_second=0)
    )
    yield Line(
        f"comments, {scale.comments.clients} clients, one receiver / none",
        accept / none,
        None,
        ">=",
        f"{accept:.0f} / {none:.0f} a second",
    )
    for kind in _BAD:
        good, bad = (
            statistics.median(outcome.p99 for outcome in side)
            for side in _both(folder, kind, scale, per_second=_PER_SECOND)
        )
        yield Line(
            f"99th percentile of comments, receiver: {kind} / none",
            bad / good,
            1.2,
            "<=",
            f"{bad:.1f} / {good:.1f} ms at {_PER_SECOND} a second",
        )


def _both(
    folder: Path, kind: str, scale: Scale, *, per_second: int
) -> tuple[list[Outcome], list[Outcome]]:
    """The outcomes without a receiver and with one of this kind, in alternation."""
    sizes, outcomes = scale.comments, (list[Outcome](), list[Outcome]())
    with servers.receiver(kind) as url:
        for _ in range(sizes.rounds):
            for flags, side in zip(((), ("--webhook", url)), outcomes, strict=True):
                data = Path(tempfile.mkdtemp(dir=folder)) / "data"
                ids = write_ours(data, entries(sizes.posts, sizes.comments))
                with servers.ours(data, *flags) as (server, _):
                    side.append(_comments(server, ids, scale, per_second=per_second))
    return outcomes


def _comments(url: str, ids: list[str], scale: Scale, *, per_second: int) -> Outcome:
    paths = [f"/posts/{post_id}/comments" for post_id in ids]
    sizes = scale.comments
    outcome = run(
        Load(
            url,
            paths,
            sizes.seconds,
            scale.warm_up_seconds,
            sizes.clients,
            method="POST",
            body=BODY,
            per_second=per_second,
        )
    )
    assert not outcome.errors
    return outcome
