"""The boxes of ISO/IEC 14496-12, the container of HEIC and AVIF."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from image_poster.adapters.images.header_facts import BadHeaderError, Content, unpack

# A box has 8 bytes or more: what a `meta` box of 4 MB can have.
MAX_BOXES = 500_000


class Box(NamedTuple):
    """A box: its type, and the start and end of its content."""

    kind: str
    start: int
    end: int


def boxes(content: Content, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes one after the other (14496-12, 4.2). Raises `BadHeaderError`."""
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


def make_box(kind: bytes, *content: bytes) -> bytes:
    """Make a box of this type."""
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def make_full_box(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Make a box with a version and flags (14496-12, 4.2)."""
    return make_box(kind, struct.pack(">I", version << 24 | flags), *content)
