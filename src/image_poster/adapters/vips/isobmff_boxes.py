"""The boxes of ISO/IEC 14496-12, of which HEIC and AVIF are made."""

from collections.abc import Iterator
from typing import NamedTuple

from image_poster.adapters.vips.header_facts import BadHeaderError, Content, unpack

MAX_BOXES = 20_000


class Box(NamedTuple):
    """A box: its type, and where its content lies."""

    kind: str
    start: int
    end: int


def boxes(content: Content, start: int, end: int) -> Iterator[Box]:
    """The boxes one after the other (14496-12, 4.2)."""
    at = start
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        size, head = unpack(">I", content, at)[0], 8
        kind = content[at + 4 : at + 8].decode("latin-1")
        if size == 1:
            size, head = unpack(">Q", content, at + 8)[0], 16
        size = size or end - at
        if size < head:
            raise BadHeaderError("a box smaller than its own header")
        yield Box(kind, at + head, min(at + size, end))
        at += size
