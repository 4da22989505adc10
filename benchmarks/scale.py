"""The AWS edition at 100, 1,000 and 10,000 requests/s: the first bottleneck, the latencies, and the
bill. `make scale` writes its tables and plots into docs/aws-costs.md.

A queueing model with a simulation inside. These are its parameters:

Processor time was measured on one core of an AMD EPYC (`MEASURED_MS`). It is scaled to the share of
a core that a Lambda has by its memory, and by 1.25 for arm64. 1,769 MB are one core (Lambda
developer guide, "Memory").

A call of DynamoDB takes 5 ms and a transaction 10, log-normal. benchmarks/aws_units.py counts
DynamoDB's units. Quotas and list prices are those of us-east-1 in AWS's documents.

So it tells orders of magnitude and the first bottleneck. No account has been measured.
"""

import heapq
import math
import random
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from aws_units import USER_TOLD, rows
from aws_units import table as units_table
from plots import Series, chart

BOOK = Path(__file__).parents[1] / "docs" / "aws-costs.md"
DOCS = BOOK.with_name("scale")
RATES = (100, 1_000, 10_000)
CURVE = (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000)
_ARM = 1.25
_CORE_MB = 1769
# Of one core here: a page of 10 posts, a comment, the fold of one, an image of 12 megapixels.
MEASURED_MS = {"page": 2.7, "comment": 1.9, "fold": 5.2, "image": 560.0}
MEMORY_MB = {"page": 1024, "comment": 1024, "fold": 512, "image": _CORE_MB}
CALLS_MS = {"page": (5.0,), "comment": (5.0,), "fold": (5.0, 5.0, 10.0), "image": (300.0,)}
_SIGMA = 0.4  # of log-normal latencies: p99 is two and a half times the median
_COLD_MS = 700.0
_WARM_SECONDS = 300.0


class Mix(NamedTuple):
    """The shares of the requests that people send."""

    comments: float = 0.28
    posts: float = 0.0028
    pieces: float = 0.0224
    pages: float = 0.6948


MIX = Mix()
# Of the pages that are asked for, those of nobody in particular, which the CDN shares for a second:
# so many different ones, in so many of its regional caches (one, with Origin Shield).
_ANONYMOUS, _DIFFERENT, _PLACES = 0.8, 40, 13
_LATER_PAGES = 0.3


def service_ms(kind: str) -> float:
    """The mean of a warm Lambda."""
    share = min(1.0, MEMORY_MB[kind] / _CORE_MB)
    return MEASURED_MS[kind] * _ARM / share + sum(CALLS_MS[kind]) * math.exp(_SIGMA**2 / 2)


class Load(NamedTuple):
    """Per second, at a rate of requests."""

    rate: float
    pages: float  # that reach the origin
    comments: float
    folds: float
    posts: float
    pieces: float

    @property
    def origin(self) -> float:
        """Requests that API Gateway is asked."""
        return self.pages + self.comments + self.posts + self.pieces


def load(rate: float, *, shared: bool = True, places: int = _PLACES) -> Load:
    """The load of a rate. Few comments are folded alone. Where there are many, half of them go to a
    hundred hot posts, each of which is folded ten times a second."""
    pages, comments = rate * MIX.pages, rate * MIX.comments
    if shared:
        anonymous = pages * _ANONYMOUS
        pages = pages - anonymous + min(anonymous, _DIFFERENT * places)
    folds = comments / 2 + min(comments / 2, 100 * 10)
    return Load(rate, pages, comments, folds, rate * MIX.posts, rate * MIX.pieces)


class Units(NamedTuple):
    """DynamoDB's, of aws_units."""

    page: float
    later: float
    comment: float
    fold_reads: float
    fold: float
    told_reads: float
    told: float
    post: float


def units() -> Units:
    """As counted."""
    units = {row.name: row.now for row in rows()}
    return Units(
        page=units["a page of `top`, 10 posts"].reads,
        later=units["a later page of `top`"].reads,
        comment=units["a comment"].writes,
        fold_reads=units["applying one comment (stream Lambda)"].reads,
        fold=units["applying one comment (stream Lambda)"].writes,
        told_reads=units[USER_TOLD].reads,
        told=units[USER_TOLD].writes,
        post=units["a post with its image work"].writes + units["an upload of 8 pieces"].writes,
    )


_UNITS = units()
# Of a fold's writes, those to the index `top`: the entry of 4 KB goes and comes, and a past rank.
_TOP_WRITES = 11
# Of a page's reads, those of the index: a later page asks for past ranks too.
_INDEX_PAGE = _UNITS.page + 0.5 * _LATER_PAGES
_WRITES, _READS = "index `top`, {} shard(s): 1,000 WRU/s each", "index `top`: 3,000 RRU/s"


def used(at: Load, shards: int = 1) -> dict[str, float]:
    """The share of each limit that is used; above 1 it is what saturates."""
    lambdas = (
        at.pages * service_ms("page")
        + at.comments * service_ms("comment")
        + at.folds * service_ms("fold")
        + at.posts * service_ms("image")
    )
    # A batch has more of a post's comments than of a user's.
    writes = (
        at.comments * (_UNITS.comment + _UNITS.told)
        + at.folds * _UNITS.fold
        + at.posts * _UNITS.post
    )
    return {
        "API Gateway, 10,000 requests/s": at.origin / 10_000,
        "Lambda, 1,000 at once": lambdas / 1000 / 1_000,
        _WRITES.format(shards): at.folds * _TOP_WRITES / (1_000 * shards),
        # Every page asks every shard, each for as many: shards do not scale reads.
        _READS: at.pages * _INDEX_PAGE / 3_000,
        "table, 40,000 WRU/s": writes / 40_000,
        "hottest post (1 % of comments), 333 comments/s": at.comments * 0.01 / 333,
        "S3, 3,500 PUT/s": at.pieces / 3_500,
    }


# The simulation of answers


def percentiles(rate: float, *, shared: bool = True, requests: int = 20_000) -> tuple[float, float]:
    """p50 and p99 in ms of pages and comments that reach the origin. Requests come by chance, and
    take a free environment or a cold one. A busy partition throttles, and the request is retried.
    """
    rng = random.Random(7)
    at = load(rate, shared=shared)
    per_second = at.pages + at.comments
    busiest = max(share for name, share in used(at).items() if name.startswith("index"))
    busy: list[float] = []
    now, took = 0.0, list[float]()
    warm = per_second * service_ms("page") / 1000 + 3 * math.sqrt(per_second / 100) + 2
    idle = [0.0] * math.ceil(warm)  # since when; those of the last five minutes are warm
    for _ in range(requests):
        now += rng.expovariate(per_second)
        while busy and busy[0] <= now:
            idle.append(heapq.heappop(busy))
        kind = "page" if rng.random() < at.pages / per_second else "comment"
        ms = _drawn_ms(rng, kind, busiest)
        if idle and now - idle[-1] < _WARM_SECONDS:
            idle.pop()
        else:
            ms += _COLD_MS
        heapq.heappush(busy, now + ms / 1000)
        took.append(ms)
    cut = statistics.quantiles(took, n=100)
    return cut[49], cut[98]


def _drawn_ms(rng: random.Random, kind: str, busiest: float) -> float:
    share = min(1.0, MEMORY_MB[kind] / _CORE_MB)
    ms = MEASURED_MS[kind] * _ARM / share * rng.uniform(0.9, 1.4)
    for call in CALLS_MS[kind]:
        ms += call * rng.lognormvariate(0, _SIGMA)
    refused = max(0.0, 1 - 1 / busiest) if kind == "page" else 0.0
    if rng.random() < refused:  # asked again once (IMAGE_POSTER_SDK_TRIES), then 503
        ms += rng.uniform(0, 1_000)
    return ms


# The bill: US$ a month of 730 h, list prices of us-east-1, November 2026


_SECONDS = 730 * 3600
_MILLION = 1_000_000.0


def _tiers(amount: float, *tiers: tuple[float, float]) -> float:
    """`tiers`: up to how much, at which price; the last without an end."""
    paid, below = 0.0, 0.0
    for end, price in tiers:
        paid += max(0.0, min(amount, end) - below) * price
        below = end
    return paid


def bill(rate: float, *, shared: bool = True) -> dict[str, float]:
    """By service."""
    at = load(rate, shared=shared)
    month = {name: value * _SECONDS / _MILLION for name, value in at._asdict().items()}
    page = _UNITS.page * (1 - _LATER_PAGES) + _UNITS.later * _LATER_PAGES
    requests = at.origin * _SECONDS / _MILLION
    gb_s = 0.0000133334 * _MILLION
    writes = (
        month["comments"] * (_UNITS.comment + _UNITS.told)
        + month["folds"] * _UNITS.fold
        + month["posts"] * _UNITS.post
    )
    # Of a comment: its post and its user's limits, where they are not remembered.
    comment_reads = 1 + _UNITS.told_reads
    reads = (
        month["pages"] * page
        + month["comments"] * comment_reads
        + month["folds"] * _UNITS.fold_reads
    )
    images_gb = rate * MIX.pages * _SECONDS * 2 * 50_000 / 1e9
    json_gb = rate * MIX.pages * _SECONDS * 2_200 / 1e9
    originals_gb = month["posts"] * 4_000
    return {
        "API Gateway": _tiers(requests, (300, 1.0), (math.inf, 0.9)),
        "API Lambda": requests * 0.20
        + (month["pages"] * service_ms("page") + month["comments"] * service_ms("comment"))
        / 1000
        * 1.0
        * gb_s,
        "stream Lambda": month["folds"] * (0.20 + service_ms("fold") / 1000 * 0.5 * gb_s),
        "image Lambda": month["posts"] * (0.20 + service_ms("image") / 1000 * 2.94 * gb_s),
        "DynamoDB writes": writes * 0.625,
        "DynamoDB reads": reads * 0.125,
        # Three months standard, nine in Glacier Instant Retrieval, when a year is full.
        "S3": month["posts"] * (14 * 5 + 12 * 0.4)
        + originals_gb * (3 * 0.023 + 9 * 0.004 + 12 * 0.0035),
        "CloudFront": _tiers(
            images_gb + json_gb,
            (10_240, 0.085),
            (51_200, 0.080),
            (153_600, 0.060),
            (512_000, 0.040),
            (math.inf, 0.030),
        )
        + rate * (1 + 2 * MIX.pages) * _SECONDS / _MILLION * 1.0
        + month["posts"] * 4_000 * 0.02,
        "logs, traces, alarms": requests * 0.9 * 0.50 + requests * 0.05 * 5 * 0.2 + 45 * 0.10,
    }


_SHARING: dict[str, dict[str, Any]] = {
    "no page shared": {"shared": False},
    "and Origin Shield": {"places": 1},
}


def _limits_table() -> str:
    lines = ["| limit | " + " | ".join(f"{rate:,}/s" for rate in RATES) + " |", "|---|---|---|---|"]
    usages = [used(load(rate)) for rate in RATES]
    for name in usages[0]:
        shares = " | ".join(f"{share[name]:.0%}" for share in usages)
        lines.append(f"| {name} | {shares} |")
    wide = " | ".join(f"{used(load(rate), 32)[_WRITES.format(32)]:.0%}" for rate in RATES)
    lines.append(f"| {_WRITES.format(32)} | {wide} |")
    for label, options in _SHARING.items():
        reads = " | ".join(f"{used(load(rate, **options))[_READS]:.0%}" for rate in RATES)
        lines.append(f"| {_READS}, {label} | {reads} |")
    for shared in (False, True):
        took = [percentiles(rate, shared=shared) for rate in RATES]
        label = "with shared pages" if shared else "no page shared"
        lines.append(
            f"| answers, p50 / p99 ms, {label} | "
            + " | ".join(f"{p50:.0f} / {p99:.0f}" for p50, p99 in took)
            + " |"
        )
    return "\n".join(lines)


def _bill_table() -> str:
    bills = [bill(rate) for rate in RATES]
    lines = ["| US$ a month | " + " | ".join(f"{rate:,}/s" for rate in RATES) + " |"]
    lines.append("|---|---|---|---|")
    lines += [
        f"| {name} | " + " | ".join(f"{bill[name]:,.0f}" for bill in bills) + " |"
        for name in bills[0]
    ]
    totals = " | ".join(f"**{sum(bill.values()):,.0f}**" for bill in bills)
    alone = " | ".join(f"{sum(bill(rate, shared=False).values()):,.0f}" for rate in RATES)
    return "\n".join([*lines, f"| total | {totals} |", f"| without shared pages | {alone} |"])


def tables() -> tuple[str, str]:
    """Limits and bill, as docs/aws-costs.md has them."""
    return _limits_table(), _bill_table()


def draw() -> None:
    """The plots."""
    shares = [used(load(rate)) for rate in CURVE]
    lines = [
        Series(name, [(rate, share[name]) for rate, share in zip(CURVE, shares, strict=True)])
        for name in shares[0]
    ]
    chart(DOCS / "limits.svg", "Share of each limit that is used (1 saturates)", lines, mark=1.0)
    took = {
        shared: [percentiles(rate, shared=shared) for rate in CURVE] for shared in (True, False)
    }
    answers = [
        Series(
            f"p{99 if at else 50}, {'shared pages' if shared else 'none shared'}",
            [(rate, values[at]) for rate, values in zip(CURVE, took[shared], strict=True)],
        )
        for shared in (True, False)
        for at in (0, 1)
    ]
    chart(DOCS / "answers.svg", "Answers that reach the origin, ms", answers)
    bills = [bill(rate) for rate in CURVE]
    parts = [
        Series(name, [(rate, costs[name]) for rate, costs in zip(CURVE, bills, strict=True)])
        for name in bills[0]
    ]
    total = Series(
        "all", [(rate, sum(costs.values())) for rate, costs in zip(CURVE, bills, strict=True)]
    )
    chart(DOCS / "bill.svg", "US$ a month", [total, *parts])


def write() -> None:
    """Tables and plots into the docs."""
    draw()
    text = BOOK.read_text()
    for name, table in zip(
        ("units", "limits", "bill"), (units_table(rows()), *tables()), strict=True
    ):
        begin, end = f"<!-- {name}, by make scale -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}{table}\n{end}{rest.partition(end)[2]}"
    BOOK.write_text(text)


if __name__ == "__main__":
    write()
    print("\n\n".join(tables()))
