"""Rebuild a PNG whose checksums, end or metadata are wrong (third edition, sections 5 and 10)."""

import struct
import zlib
from collections.abc import Iterator

from image_poster.adapters.images.header_facts import BadHeaderError, Content, unpack

_MAX_CHUNKS = 500_000
_PIECE_BYTES = 1_000_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OF_PIXELS = {b"IHDR", b"PLTE", b"tRNS"}
_METADATA = {b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"eXIf"}
# Samples of a pixel by its colour type; the passes of Adam7: start and step in x, and in y.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ONE_PASS = ((0, 1, 0, 1),)
_ADAM7 = (
    (0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2),
    (0, 1, 1, 2),
)  # fmt: skip
# The widest window: the one that a stream tells may be too small for it.
_ZLIB_HEADER = b"\x78\x9c"
_ADLER_BYTES = 4


def rebuild_png(content: Content) -> bytes:
    """Return the rebuilt file: all chunks of pixels, but only metadata with a correct checksum.

    One of the two checksums of the pixels must be correct. Both may be missing if the file ends
    there. If both are wrong, the pixels have changed. Raises `BadHeaderError`.
    """
    chunks, data, sums = [], bytearray(), set()
    for name, body, is_right in _chunks(content):
        if name == b"IDAT":
            data += body
            sums.add(is_right)
        elif name in _OF_PIXELS or (name in _METADATA and is_right):
            chunks.append(_chunk(name, body))
    end, adler = _inflate(data, _pixel_bytes(content))
    stored = bytes(data[end : end + _ADLER_BYTES])
    adler_is_missing = len(stored) < _ADLER_BYTES
    if sums != {True} and stored != adler and not (adler_is_missing and False not in sums):
        raise BadHeaderError("the pixels are not those that were written")
    data[:2], data[end:] = _ZLIB_HEADER, adler
    return b"".join([_SIGNATURE, *chunks, _chunk(b"IDAT", data), _chunk(b"IEND", b"")])


def _chunks(content: Content) -> Iterator[tuple[bytes, bytes, bool | None]]:
    """Yield the name and content of each chunk, and True if its CRC is correct. The last value is
    None if the file ends before the CRC."""
    at = len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        name = content[at + 4 : at + 8]
        if len(name) < 4 or name == b"IEND":  # noqa: PLR2004
            return
        (length,) = unpack(">I", content, at)
        body = content[at + 8 : at + 8 + length]
        stored = content[at + 8 + length : at + 12 + length]
        is_whole = len(stored) == 4  # noqa: PLR2004
        yield name, body, stored == _crc(name, body) if is_whole else None
        at += 12 + length


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
    view = memoryview(data)
    try:
        for at in range(2, len(view), _PIECE_BYTES):
            piece: bytes | memoryview = view[at : at + _PIECE_BYTES]
            while piece and not stream.eof and length <= expected:
                inflated = stream.decompress(piece, _PIECE_BYTES)
                adler, length = zlib.adler32(inflated, adler), length + len(inflated)
                piece = stream.unconsumed_tail
            if stream.eof:
                end = min(at + _PIECE_BYTES, len(view)) - len(stream.unused_data)
                break
        else:
            raise BadHeaderError("the pixels break off")
    except zlib.error as exc:
        raise BadHeaderError("the pixels cannot be inflated") from exc
    finally:
        view.release()
    if length != expected:
        raise BadHeaderError("the pixels are not as many as the header tells")
    return end, struct.pack(">I", adler)


def _crc(name: bytes, body: bytes | bytearray) -> bytes:
    return struct.pack(">I", zlib.crc32(body, zlib.crc32(name)))


def _chunk(name: bytes, body: bytes | bytearray) -> bytes:
    return struct.pack(">I", len(body)) + name + body + _crc(name, body)
