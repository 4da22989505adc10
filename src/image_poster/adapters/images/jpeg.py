"""JPEG: facts from the header, and a file rebuilt from the parts that contain pixels (ITU-T T.81,
annex B)."""

import itertools
import struct
from collections.abc import Iterator

from image_poster.adapters.images.header import (
    MAX_SEGMENTS,
    BadHeaderError,
    Content,
    HeaderFacts,
    unpack,
    unsupported,
)

_SOI, _EOI, _SOS, _DHT, _DQT, _DRI = 0xD8, 0xD9, 0xDA, 0xC4, 0xDB, 0xDD
_STANDALONE_MARKERS = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_NO_SEGMENTS = {0x00, 0xFF, _SOI, _EOI, *_STANDALONE_MARKERS}
_SCAN = b"\xff\xda"
_DNL = b"\xff\xdc\0\4"  # the number of lines, behind the first scan
_SOF_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_SOF_PROGRESSIVE = {0xC2, 0xCA}
_SOF_ARITHMETIC = {0xC9, 0xCA}
_SOF_NOT_DECODED = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "a lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "a hierarchical JPEG"),
    0xF7: "a JPEG-LS",
}
_BITS_DECODED = 8
_NEEDED_METADATA = {0xE0: b"JFIF\0", 0xE1: b"Exif\0\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}

_MAX_SEGMENT_BYTES = 66_000
_MAX_TRIES = 1000
_MAX_STEPS = 1_000_000
_MAX_BYTES_OFF = 16


def read_jpeg(content: Content) -> HeaderFacts:
    """Read the facts of a JPEG. Raises `BadHeaderError`, and `ImageRejectedError` for a kind that
    libjpeg does not decode."""
    at, sof, samples, components, size = 2, 0, 0.0, 0, (0, 0)
    for _ in range(MAX_SEGMENTS):
        marker, at = _next_marker(content, at)
        if marker in _STANDALONE_MARKERS:
            continue
        if marker in _SOF_NOT_DECODED:
            raise unsupported(_SOF_NOT_DECODED[marker])
        length, first = unpack(">HB", content, at)
        if marker in _SOF_DECODED:
            sof = marker
            if first != _BITS_DECODED:
                raise unsupported(f"a JPEG of {first} bits a sample")
            height, width, components = unpack(">HHB", content, at + 3)
            samples, size = _samples(content, at + 8, components), (width, height)
        if marker == _SOS:
            # From here on: a thumbnail within the header has a last marker of its own.
            has_end = content.rfind(b"\xff\xd9", at) >= 0
            is_whole = sof not in _SOF_PROGRESSIVE or has_end or _has_all_scans(content, at - 2)
            is_stored = sof in _SOF_PROGRESSIVE or first < components
            scans = itertools.islice(_scans(content, at - 2), MAX_SEGMENTS)
            return HeaderFacts(
                size=size,
                # Where arithmetic coding breaks off, libjpeg does not warn.
                lacks_end=not has_end and is_whole and sof not in _SOF_ARITHMETIC,
                samples=samples if is_stored else 0,
                scans=sum(1 for _ in scans) if is_stored else 1,
            )
        at += length
    raise BadHeaderError("too many segments")


def _next_marker(content: Content, at: int) -> tuple[int, int]:
    """Return the marker at or after `at`, and the offset of its segment. Bytes between segments are
    skipped, as in libjpeg."""
    while (at := content.find(b"\xff", at)) >= 0:
        (marker,) = unpack("B", content, at + 1)
        if marker == _EOI:
            break
        if marker not in (0x00, 0xFF):
            return marker, at + 2
        at += 1
    raise BadHeaderError("no scan")


def _samples(content: Content, at: int, components: int) -> float:
    """Return the samples for each pixel, by the components of a frame (T.81, B.2.2)."""
    factors = unpack(f"{3 * components}B", content, at)[1::3]
    areas = [(factor >> 4) * (factor & 15) for factor in factors]
    if not areas or not all(areas):
        raise BadHeaderError("a component without samples")
    return sum(areas) / max(areas)


def _scans(content: Content, at: int) -> Iterator[int]:
    """Yield the offset of the scan at `at`, and those of all later scans."""
    while at >= 0:
        yield at
        at = content.find(_SCAN, at + 2)


def _has_all_scans(content: Content, at: int) -> bool:
    """Return True if the scans of a progressive JPEG contain every coefficient of every component
    to its last bit (T.81, G.1.1). If the file ends between two scans, no block shows it."""
    lacking: set[tuple[int, int]] = set()
    for count, scan in enumerate(_scans(content, at)):
        if count == MAX_SEGMENTS:
            return False
        (number,) = unpack("B", content, scan + 4)
        components = unpack(f"{2 * number}B", content, scan + 5)[::2]
        first, last, bits = unpack("BBB", content, scan + 5 + 2 * number)
        for component in components:
            if first == 0 and last == 0 and bits >> 4 == 0:
                lacking |= {(component, index) for index in range(64)}
            if bits & 15 == 0:
                lacking -= {(component, index) for index in range(first, last + 1)}
    return not lacking


def rebuild_jpeg(content: Content) -> bytes:
    """Return the rebuilt file. The content of a segment determines its length, since the declared
    lengths may be wrong. Raises `BadHeaderError` if there is no scan, and `ImageRejectedError`
    without a height."""
    parts, at = [b"\xff\xd8"], 2
    steps = iter(range(_MAX_STEPS))
    for _ in range(MAX_SEGMENTS):
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
    if marker in _SOF_DECODED:
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
        is_needed = body.startswith(_NEEDED_METADATA.get(marker, b"\0\0"))
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
    area, has_tables = 0, False
    for _ in itertools.islice(steps, _MAX_TRIES):
        head = content[at : at + 4]
        if len(head) < 4 or head[0] != 0xFF or head[1] in _NO_SEGMENTS:  # noqa: PLR2004
            return 0
        if head[1] in _SOF_DECODED:
            height, width = unpack(">HH", content, at + 5)
            area = height * width
        if head[1] == _SOS:
            return area if has_tables else 0
        has_tables = has_tables or head[1] == _DQT
        at += 2 + int.from_bytes(head[2:])
    return 0


def _frame_header(content: Content, at: int) -> bytes:
    """Return the content of a frame's segment; a height of 0 is replaced by that behind the scan
    (T.81, B.2.5)."""
    (components,) = unpack("B", content, at + 5)
    body = content[at : at + 6 + 3 * components]
    if body[1:3] != b"\0\0":
        return body
    lines = content.find(_DNL, at)
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
