"""The table: what was compared, the ratio, the target, and whether it was met."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Line:
    """One comparison; `detail` gives both sides in their units. Without a target it is for the
    record."""

    name: str
    ratio: float
    target: float | None
    sense: Literal[">=", "<="]
    detail: str

    @property
    def met(self) -> bool:
        if self.target is None:
            return True
        return self.ratio >= self.target if self.sense == ">=" else self.ratio <= self.target

    @property
    def measured(self) -> bool:
        """True if both sides were measured: a rate or a time of nothing gives 0, infinity or no
        number."""
        return math.isfinite(self.ratio) and self.ratio > 0

    def text(self, *, judged: bool) -> str:
        """A row of the table; the verdict only if it is `judged`."""
        goal = "-" if self.target is None else f"{self.sense} {self.target:g}"
        verdict = ("ok" if self.met else "SHORT") if judged else ""
        return f"{self.name:<58} {self.ratio:7.2f}  {goal:<8} {verdict:<6} {self.detail}"


@dataclass(frozen=True)
class Skipped:
    """In place of `lines` comparisons with something that is not installed here."""

    lines: int
    why: str

    def __str__(self) -> str:
        return f"  skipped, lines: {self.lines}; {self.why}"


Found = Line | Skipped


def faults(name: str, expected: int, entries: Sequence[Found]) -> list[str]:
    """The faults of a benchmark's lines. There is a sentence if lines are missing, and one for each
    line that measured nothing."""
    lines = [entry for entry in entries if isinstance(entry, Line)]
    skipped = sum(entry.lines for entry in entries if isinstance(entry, Skipped))
    nothing = [f"{name}: {line.name}: {line.ratio}" for line in lines if not line.measured]
    if len(lines) + skipped == expected:
        return nothing
    return [f"{name}: {len(lines)} lines, {skipped} skipped, of {expected}", *nothing]
