"""The table: what was compared, the ratio, the target, and whether it was met."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Line:
    """One comparison; `detail` gives both sides in their units. Without a target it is for the
    record."""

    what: str
    ratio: float
    target: float | None
    sense: Literal[">=", "<="]
    detail: str

    @property
    def met(self) -> bool:
        if self.target is None:
            return True
        return self.ratio >= self.target if self.sense == ">=" else self.ratio <= self.target

    def __str__(self) -> str:
        goal = "-" if self.target is None else f"{self.sense} {self.target:g}"
        verdict = "ok" if self.met else "SHORT"
        return f"{self.what:<58} {self.ratio:7.2f}  {goal:<8} {verdict:<6} {self.detail}"
