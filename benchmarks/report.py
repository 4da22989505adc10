"""The table: what was compared, the ratio, the target, and whether it was met."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Line:
    """One comparison; `detail` gives both sides in their units."""

    what: str
    ratio: float
    target: float
    sense: Literal[">=", "<="]
    detail: str

    @property
    def met(self) -> bool:
        return self.ratio >= self.target if self.sense == ">=" else self.ratio <= self.target

    def __str__(self) -> str:
        verdict = "ok" if self.met else "SHORT"
        return (
            f"{self.what:<58} {self.ratio:7.2f}  {self.sense} {self.target:<5g} {verdict:<6}"
            f" {self.detail}"
        )
