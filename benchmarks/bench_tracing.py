"""The cost of traces: comments and posts with every request traced, against a service without
traces. The collector discards what it gets, on the load's core."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import servers
from bench_comments import BODY
from data import entries, write_ours
from load import Load, run
from report import Found, Line, Skipped
from sizes import Scale

_LINES = 2


def why_not() -> str:
    """The reason why traces cannot be measured; empty if they can."""
    try:
        import opentelemetry.sdk  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        return "the extra otel is not installed"
    return ""


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """Comments a second, and pages of the feed a second: traced against not traced."""
    if why_not():
        yield Skipped(_LINES, why_not())
        return
    sizes = scale.comments
    ids = write_ours(folder / "off", entries(sizes.posts, sizes.comments))
    traced_ids = write_ours(folder / "on", entries(sizes.posts, sizes.comments))
    with ExitStack() as stack:
        url, _ = stack.enter_context(servers.ours(folder / "off"))
        collector = stack.enter_context(servers.receiver("accept"))
        traced, _ = stack.enter_context(servers.ours(folder / "on", "--otlp-endpoint", collector))
        yield _line(
            "comments a second, traced / not traced",
            lambda: _comments(traced, traced_ids, scale),
            lambda: _comments(url, ids, scale),
            sizes.rounds,
        )
        yield _line(
            "pages of the feed a second, traced / not traced",
            lambda: _pages(traced, scale),
            lambda: _pages(url, scale),
            sizes.rounds,
        )


def _line(name: str, on: Callable[[], float], off: Callable[[], float], rounds: int) -> Line:
    pairs = [(on(), off()) for _ in range(rounds)]
    with_traces, without = (statistics.median(side) for side in zip(*pairs, strict=True))
    detail = f"{with_traces:.0f} / {without:.0f} a second"
    return Line(name, with_traces / without, None, ">=", detail)


def _comments(url: str, ids: list[str], scale: Scale) -> float:
    paths = [f"/posts/{post_id}/comments" for post_id in ids]
    return _rate(Load(url, paths, scale.comments.seconds, scale.warm_up_seconds, 64, "POST", BODY))


def _pages(url: str, scale: Scale) -> float:
    return _rate(Load(url, ["/posts"], scale.comments.seconds, scale.warm_up_seconds, 64))


def _rate(load: Load) -> float:
    outcome = run(load)
    assert not outcome.errors
    return outcome.per_second
