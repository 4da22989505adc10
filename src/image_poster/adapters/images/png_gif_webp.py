"""PNG, GIF and WebP: facts from the header, and files rebuilt from the parts that contain
pixels."""

import itertools
import struct
import zlib
from collections.abc import Iterator

from image_poster.adapters.images.colour import Colour
from image_poster.adapters.images.header import (
    MAX_SEGMENTS,
    BadHeaderError,
    Content,
    Frame,
    HeaderFacts,
    unpack,
)

# --- PNG: third edition, sections 5, 10 and 11.3 ---

_MAX_CHUNKS = 500_000
_PIECE_BYTES = 1_000_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS"}
_METADATA = {b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"}
_SRGB_GAMMA = 45_455
_SRGB_POINTS = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)
# Samples of a pixel by its colour type; the passes of Adam7: start and step in x, and in y.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ONE_PASS = ((0, 1, 0, 1),)
_ADAM7 = (
    (0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2),
    (0, 1, 1, 2),
)  # fmt: skip
# The widest window: the one that a stream declares may be too small for it.
_ZLIB_HEADER = b"\x78\x9c"
_ADLER_BYTES = 4


def read_png(content: Content) -> HeaderFacts:
    """Read the colours from the chunks before the pixels. Raises `BadHeaderError`."""
    offsets: dict[bytes, int] = {}
    for name, at, _ in itertools.islice(_chunks(content), MAX_SEGMENTS):
        if name in (b"IDAT", b"IEND"):
            width, height = unpack(">II", content, 16)
            return HeaderFacts(size=(width, height), colour=_png_colour(content, offsets))
        offsets[name] = at
    raise BadHeaderError("no pixels")


def _chunks(content: Content) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, and the offset and length of its content."""
    at = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        name = content[at + 4 : at + 8]
        if len(name) < 4:  # noqa: PLR2004
            return
        (length,) = unpack(">I", content, at)
        yield name, at + 8, length
        at += 12 + length


def _png_colour(content: Content, offsets: dict[bytes, int]) -> Colour | None:
    """Return the colours. cICP wins over iCCP, iCCP over sRGB, and sRGB over gAMA and cHRM (section
    4.3)."""
    if b"cICP" in offsets:
        primaries, transfer = unpack(">BB", content, offsets[b"cICP"])
        return Colour(primaries, transfer)
    if b"iCCP" in offsets or b"sRGB" in offsets:
        return None
    gamma, points = _SRGB_GAMMA, _SRGB_POINTS
    if b"gAMA" in offsets:
        (gamma,) = unpack(">I", content, offsets[b"gAMA"])
    if b"cHRM" in offsets:
        points = unpack(">8I", content, offsets[b"cHRM"])  # type: ignore[assignment]
    if not _is_plausible(gamma, points):
        return None
    is_usual_gamma = abs(gamma - _SRGB_GAMMA) < 1_000  # noqa: PLR2004 - 0.01, as encoders round
    is_usual = all(abs(a - b) < 500 for a, b in zip(points, _SRGB_POINTS, strict=True))  # noqa: PLR2004
    pairs = zip(points[::2], points[1::2], strict=True)
    return Colour(
        gamma=None if is_usual_gamma else 100_000 / gamma,
        chromaticities=None if is_usual else tuple((x / 100_000, y / 100_000) for x, y in pairs),
    )


def _is_plausible(gamma: int, points: tuple[int, ...]) -> bool:
    """Return True for exponents of 0.5 to 5, and a triangle of colours that has an area."""
    _, _, red_x, red_y, green_x, green_y, blue_x, blue_y = points
    area = (green_x - red_x) * (blue_y - red_y) - (blue_x - red_x) * (green_y - red_y)
    in_range = all(0 < point <= 100_000 for point in points)  # noqa: PLR2004 - 1.0
    return 20_000 <= gamma <= 200_000 and in_range and abs(area) > 10_000_000  # noqa: PLR2004


def rebuild_png(content: Content) -> bytes:
    """Return the rebuilt file: all chunks of pixels, but only metadata with a correct checksum.

    One of the two checksums of the pixels must be correct. Both may be missing if the file ends
    there. If both are wrong, the pixels have changed. Raises `BadHeaderError`.
    """
    chunks, data, checks = [], bytearray(), set()
    for name, at, length in _chunks(content):
        if name == b"IEND":
            break
        body, crc = content[at : at + length], content[at + length : at + length + 4]
        # None: the file ends before the checksum.
        is_right = crc == _crc(name, body) if len(crc) == 4 else None  # noqa: PLR2004
        if name == b"IDAT":
            data += body
            checks.add(is_right)
        elif name in _PIXEL_CHUNKS or (name in _METADATA and is_right):
            chunks.append(_chunk(name, body))
    end, adler = _inflate(data, _pixel_bytes(content))
    stored = bytes(data[end : end + _ADLER_BYTES])
    lacks_adler = len(stored) < _ADLER_BYTES
    if checks != {True} and stored != adler and not (lacks_adler and False not in checks):
        raise BadHeaderError("the pixels are not those that were written")
    data[:2], data[end:] = _ZLIB_HEADER, adler
    return b"".join([_SIGNATURE, *chunks, _chunk(b"IDAT", data), _chunk(b"IEND", b"")])


def _pixel_bytes(content: Content) -> int:
    """Return the bytes of all rows with their filter types. Raises `BadHeaderError`."""
    width, height, depth, kind, _, _, interlace = unpack(">IIBBBBB", content, 16)
    if kind not in _SAMPLES or not width or not height:
        raise BadHeaderError("no such pixels")
    bits = depth * _SAMPLES[kind]
    total = 0
    for left, across, top, down in _ADAM7 if interlace else _ONE_PASS:
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _inflate(data: bytearray, expected: int) -> tuple[int, bytes]:
    """Return the offset in `data` where the stream ends, and the Adler-32 of its content. Raises
    `BadHeaderError` unless the content has the `expected` number of bytes."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    adler, length = 1, 0
    with memoryview(data) as view:
        for at in range(2, len(view), _PIECE_BYTES):
            piece: bytes | memoryview = view[at : at + _PIECE_BYTES]
            while piece and not stream.eof and length <= expected:
                try:
                    inflated = stream.decompress(piece, _PIECE_BYTES)
                except zlib.error as exc:
                    raise BadHeaderError("the pixels cannot be inflated") from exc
                adler, length = zlib.adler32(inflated, adler), length + len(inflated)
                piece = stream.unconsumed_tail
            if stream.eof:
                end = min(at + _PIECE_BYTES, len(view)) - len(stream.unused_data)
                break
        else:
            raise BadHeaderError("the pixels break off")
    if length != expected:
        raise BadHeaderError("the pixels are not as many as the header declares")
    return end, struct.pack(">I", adler)


def _crc(name: bytes, body: bytes | bytearray) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _chunk(name: bytes, body: bytes | bytearray) -> bytes:
    return struct.pack(">I", len(body)) + name + body + _crc(name, body)


# --- GIF: GIF89a, sections 17 to 27 ---

_HEADER_BYTES, _DESCRIPTOR_BYTES = 13, 10
_GRAPHIC_CONTROL, _GRAPHIC_CONTROL_BYTES = b"!\xf9\4", 8


def read_gif(content: Content) -> HeaderFacts:
    """Read the canvas and the position of the first frame. Raises `BadHeaderError`."""
    for at in _blocks(content):
        if content[at : at + 1] == b",":
            width, height = unpack("<HH", content, 6)
            return HeaderFacts(size=(width, height), frame=Frame(*unpack("<HHHH", content, at + 1)))
        if content[at : at + 1] != b"!":
            break
    raise BadHeaderError("no frame")


def rebuild_gif(content: Content) -> bytes:
    """Keep the first frame and its graphic control extension only."""
    control = b""
    for at in _blocks(content):
        if content[at : at + 3] == _GRAPHIC_CONTROL:
            control = content[at : at + _GRAPHIC_CONTROL_BYTES]
    data = at + _DESCRIPTOR_BYTES + _table_bytes(content, at + 9)
    head = content[: _HEADER_BYTES + _table_bytes(content, 10)]
    return head + control + content[at : _after_sub_blocks(content, data + 1)] + b";"


def _blocks(content: Content) -> Iterator[int]:
    """Yield the offset of each block up to the first frame."""
    at = _HEADER_BYTES + _table_bytes(content, 10)
    for _ in range(MAX_SEGMENTS):
        yield at
        if content[at : at + 1] == b",":
            return
        at = _after_sub_blocks(content, at + 2)


def _table_bytes(content: Content, at: int) -> int:
    """Return the size of the colour table that the flags at `at` declare: three bytes for each of
    two to 256 colours, 0 without a table."""
    (flags,) = unpack("B", content, at)
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_sub_blocks(content: Content, at: int) -> int:
    """Return the offset behind the empty block that ends the blocks at `at`."""
    for _ in range(MAX_SEGMENTS):
        (length,) = unpack("B", content, at)
        at += 1 + length
        if length == 0:
            return at
    raise BadHeaderError("an extension without an end")


# --- WebP: the container's specification, "Extended File Format" ---

_RIFF_BYTES, _CHUNK_BYTES = 12, 8
_IMAGES = (b"VP8 ", b"VP8L", b"ANMF")
_FLAGS = {b"ICCP": 0x20, b"ALPH": 0x10, b"EXIF": 0x08, b"ANMF": 0x02}


def read_webp(content: Content) -> HeaderFacts:
    """Read the canvas of an animation. Raises `BadHeaderError`."""
    if content[12:16] != b"VP8X" or not unpack("B", content, 20)[0] & _FLAGS[b"ANMF"]:
        return HeaderFacts()
    width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
    return HeaderFacts(size=(width, height))


def rebuild_webp(content: Content) -> bytes:
    """Keep one image, or the first frame of an animation, with its profile and its EXIF."""
    parts: dict[bytes, bytes] = {}
    at = _RIFF_BYTES
    for _ in range(MAX_SEGMENTS):
        if at + _CHUNK_BYTES > len(content):
            break
        (length,) = unpack("<I", content, at + 4)
        name, body = content[at : at + 4], content[at + 8 : at + 8 + length]
        if len(body) == length or name == b"EXIF":  # what turns an image comes first in it
            parts.setdefault(name, body)
        at += 8 + length + length % 2
    image = next((name for name in _IMAGES if name in parts), None)
    if image is None:
        raise BadHeaderError("the image is missing or breaks off")
    names = [name for name in (b"ICCP", b"ANIM", b"ALPH", image, b"EXIF") if name in parts]
    flags = unpack("B", parts.get(b"VP8X", b"\0"))[0] & _FLAGS[b"ALPH"]
    flags |= sum(_FLAGS.get(name, 0) for name in names)
    if image == b"ANMF":
        canvas = parts.get(b"VP8X", b"")[4:10]
    else:
        canvas = b"".join((side - 1).to_bytes(3, "little") for side in _webp_size(parts[image]))
    chunks = [(b"VP8X", bytes([flags, 0, 0, 0]) + canvas), *((name, parts[name]) for name in names)]
    pieces = [
        piece
        for name, body in chunks
        if flags or name == image
        for piece in (name, struct.pack("<I", len(body)), body, bytes(len(body) % 2))
    ]
    size = 4 + sum(map(len, pieces))
    return b"".join([b"RIFF", struct.pack("<I", size), b"WEBP", *pieces])


def _webp_size(image: bytes) -> tuple[int, int]:
    """Return the size in the coded image itself: RFC 6386, 9.1, or "WebP Lossless Bitstream", 3."""
    if image[:1] == b"\x2f":
        (bits,) = unpack("<I", image, 1)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = unpack("<HH", image, 6)
    return width & 0x3FFF or 1, height & 0x3FFF or 1
