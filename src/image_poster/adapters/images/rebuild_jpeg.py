"""Rebuild a JPEG: the content of a segment determines its length, since the declared lengths may be
wrong (ITU-T T.81, annex B)."""

import itertools
import struct
from collections.abc import Iterator

from image_poster.adapters.images.header_facts import (
    SOF_DECODED,
    STANDALONE_MARKERS,
    BadHeaderError,
    Content,
    unpack,
    unsupported,
)

_MAX_SEGMENTS = 10_000
_MAX_SEGMENT_BYTES = 66_000
_MAX_TRIES = 1000
_MAX_STEPS = 1_000_000
_MAX_BYTES_OFF = 16
_SOI, _EOI, _SOS, _DHT, _DQT, _DRI = 0xD8, 0xD9, 0xDA, 0xC4, 0xDB, 0xDD
_DNL = b"\xff\xdc\0\4"  # the number of lines, behind the first scan
_NO_SEGMENTS = {0x00, 0xFF, _SOI, _EOI, *STANDALONE_MARKERS}
_KEPT_METADATA = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}


def rebuild_jpeg(content: Content) -> bytes:
    """Return the rebuilt file. Raises `BadHeaderError` if there is no scan, and
    `ImageRejectedError` without a height."""
    parts, at = [b"\xff\xd8"], 2
    steps = iter(range(_MAX_STEPS))
    for _ in range(_MAX_SEGMENTS):
        at = content.find(b"\xff", at)
        if at < 0:
            break
        (marker,) = unpack("B", content, at + 1)
        if marker in _NO_SEGMENTS:
            at += 1
            continue
        body, after = _segment(content, marker, at + 4, steps)
        parts.append(struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body if body else b"")
        if marker == _SOS:
            return b"".join([*parts, content[after : len(content)]])
        at = after
    raise BadHeaderError("no scan")


def _segment(content: Content, marker: int, at: int, steps: Iterator[int]) -> tuple[bytes, int]:
    """Return the content of the segment, empty if pixels do not need it, and the offset behind it.
    `steps` limits the search for ends of metadata in the whole file."""
    declared_end = at + max(0, unpack(">H", content, at - 2)[0] - 2)
    if marker in SOF_DECODED:
        body = _frame_header(content, at)
    elif marker == _SOS:
        (components,) = unpack("B", content, at)
        body = content[at : at + 4 + 2 * components]
        return body, max(declared_end, at + len(body))
    elif marker in (_DHT, _DQT):
        body = content[at : _after_tables(content, marker, at, declared_end)]
    elif marker == _DRI:
        body = content[at : at + 2]
    else:
        body = content[at:declared_end]
        is_needed = body.startswith(_KEPT_METADATA.get(marker, b"\0\0"))
        if content[declared_end : declared_end + 1] != b"\xff":
            declared_end = _after_cut_metadata(content, at, steps)
        return body if is_needed else b"", declared_end
    return body, at + len(body)


def _after_cut_metadata(content: Content, at: int, steps: Iterator[int]) -> int:
    """Return the offset behind a segment with a wrong length. It is the marker from which segments
    lead to the scan of the largest frame, since a thumbnail has a scan too."""
    end = min(at + _MAX_SEGMENT_BYTES, len(content))
    largest, place = 0, len(content)
    for _ in range(_MAX_TRIES):
        at = content.find(b"\xff", at, end)
        if at < 0:
            break
        if (area := _area_of_frame(content, at, steps)) > largest:
            largest, place = area, at
        at += 1
    return place


def _area_of_frame(content: Content, at: int, steps: Iterator[int]) -> int:
    """Return the pixels of the frame whose segments begin at `at`; 0 if there is no scan."""
    area, tables = 0, False
    for _ in itertools.islice(steps, _MAX_TRIES):
        head = content[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] in _NO_SEGMENTS:  # noqa: PLR2004
            return 0
        if head[1] in SOF_DECODED:
            height, width = unpack(">HH", content, at + 5)
            area = height * width
        if head[1] == _SOS:
            return area if tables else 0
        tables = tables or head[1] == _DQT
        at += 2 + int.from_bytes(head[2:])
    return 0


def _frame_header(content: Content, at: int) -> bytes:
    (components,) = unpack("B", content, at + 5)
    body = content[at : at + 6 + 3 * components]
    lines = content.find(_DNL, at)
    if body[1:3] != b"\0\0":
        return body
    if lines < 0:
        raise unsupported("a JPEG that does not tell its height")
    return body[:1] + content[lines + 4 : lines + 6] + body[3:]


def _after_tables(content: Content, marker: int, at: int, declared_end: int) -> int:
    """Return the end of the tables, by the sizes in their heads (T.81, B.2.4). `declared_end`, by
    the segment's length, may be some bytes off."""
    while True:
        (head,) = unpack("B", content, at)
        counts = content[at + 1 : at + 17]
        size = 17 + sum(counts) if marker == _DHT else 129 if head >> 4 else 65
        if head & 0xEC or not any(counts) or at + size > declared_end + _MAX_BYTES_OFF:
            return at
        at += size
