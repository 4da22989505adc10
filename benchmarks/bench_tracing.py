"""The cost of traces: comments, pages and posts with each request traced, against a service without
traces. The collector discards its spans, on the core of the load."""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

import servers
from bench_comments import BODY, count_comments
from bench_images import make_photo
from bench_posting import our_side, posts_a_minute
from data import entries, write_ours
from load import Load, run
from report import Found, Line, Skipped
from sizes import Scale

_LINES = 4


class _Side(NamedTuple):
    """A server, its process id, its data folder, and its posts."""

    url: str
    pid: int
    data_dir: Path
    ids: list[str]

    def processor_seconds(self) -> float:
        """The processor time of the server, without that of its decoders."""
        return float(sum(psutil.Process(self.pid).cpu_times()[:2]))


def why_not() -> str:
    """The reason why traces cannot be measured; empty if they can."""
    try:
        import opentelemetry.sdk  # noqa: F401, PLC0415
    except ModuleNotFoundError:
        return "the extra otel is not installed"
    return ""


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """Comments and pages a second, the processor time of a comment, and posts a minute: traced
    against not traced."""
    if why_not():
        yield Skipped(_LINES, why_not())
        return
    sizes, photo = scale.comments, folder / "photo.jpg"
    make_photo(photo, *scale.posting.small, quality=80)
    ids = write_ours(folder / "off", entries(sizes.posts, sizes.comments))
    traced_ids = write_ours(folder / "on", entries(sizes.posts, sizes.comments))
    with ExitStack() as stack:
        off = _Side(*stack.enter_context(servers.ours(folder / "off")), folder / "off", ids)
        collector = stack.enter_context(servers.receiver("accept"))
        server = stack.enter_context(servers.ours(folder / "on", "--otlp-endpoint", collector))
        sides = (_Side(*server, folder / "on", traced_ids), off)
        comments = [[_comments(side, scale) for side in sides] for _ in range(sizes.rounds)]
        rates, times = ([[side[at] for side in pair] for pair in comments] for at in (0, 1))
        yield _line("comments a second", rates, "a second")
        yield _line("processor time of a comment", times, "µs", "<=")
        pages = [[_pages(side, scale) for side in sides] for _ in range(sizes.rounds)]
        yield _line("pages of the feed a second", pages, "a second")
        posts = [[_posts(side, photo, scale) for side in sides] for _ in range(sizes.rounds)]
        yield _line(f"posts of {photo.stat().st_size / 1000:.0f} kB a minute", posts, "a minute")


def _line(
    name: str, rounds: Sequence[Sequence[float]], unit: str, sense: Literal[">=", "<="] = ">="
) -> Line:
    on, off = (statistics.median(side) for side in zip(*rounds, strict=True))
    return Line(
        f"{name}, traced / not traced", on / off, None, sense, f"{on:.0f} / {off:.0f} {unit}"
    )


def _comments(side: _Side, scale: Scale) -> tuple[float, float]:
    """Comments a second, and the server's processor time of one in microseconds."""
    seconds, clients = scale.comments.seconds, scale.comments.clients
    paths = [f"/posts/{post_id}/comments" for post_id in side.ids]
    load = Load(side.url, paths, seconds, scale.warm_up_seconds, clients, "POST", BODY)
    before, began = count_comments(side.data_dir), side.processor_seconds()
    rate = _rate(load)
    spent = side.processor_seconds() - began
    return rate, 1e6 * spent / (count_comments(side.data_dir) - before)


def _pages(side: _Side, scale: Scale) -> float:
    seconds, clients = scale.comments.seconds, scale.comments.clients
    return _rate(Load(side.url, ["/posts"], seconds, scale.warm_up_seconds, clients))


def _posts(side: _Side, photo: Path, scale: Scale) -> float:
    sizes = scale.posting
    return posts_a_minute(our_side(side.url), photo, sizes.small_posts // 4, sizes.clients)


def _rate(load: Load) -> float:
    outcome = run(load)
    assert not outcome.errors
    return outcome.per_second
