"""Code in the pages of the docs."""

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?:<!-- run: (?P<runner>[\w-]+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the comment before it says that it is run with, if anything."""

    line: int
    language: str
    runner: str
    code: str


def blocks(page: Path) -> list[Block]:
    """All of a page, in order."""
    text = page.read_text()
    return [
        Block(
            line=text.count("\n", 0, match.start()) + 1,
            language=match["language"],
            runner=match["runner"] or "",
            code=match["code"],
        )
        for match in _BLOCK.finditer(text)
    ]
