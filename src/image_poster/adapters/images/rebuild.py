"""Rebuild a file that its decoder refuses from the parts that contain its pixels.

Such a file may be whole but for metadata, a length or a checksum; the rebuilt file corrects these.
No pixel is invented: where pixels are cut off, the functions raise `BadHeaderError`.
"""

import struct
from collections.abc import Callable

from image_poster.adapters.images.header_facts import (
    GIF_HEADER_BYTES,
    BadHeaderError,
    Content,
    after_sub_blocks,
    colour_table_bytes,
    unpack,
)
from image_poster.adapters.images.rebuild_heif import rebuild_heif
from image_poster.adapters.images.rebuild_jpeg import rebuild_jpeg
from image_poster.adapters.images.rebuild_png import rebuild_png
from image_poster.domain.images import ImageFormat

_MAX_PARTS = 10_000


def rebuild(image_format: ImageFormat, content: Content) -> bytes:
    """Return the rebuilt file. Raises `BadHeaderError` if its pixels are not whole."""
    try:
        return _REBUILDERS[image_format](content)
    except struct.error as exc:
        raise BadHeaderError("a number that does not fit its field") from exc


# --- WebP: the container's specification, "Extended File Format" ---

_RIFF_BYTES, _CHUNK_BYTES = 12, 8
_IMAGES = (b"VP8 ", b"VP8L", b"ANMF")
_FLAGS = {b"ICCP": 0x20, b"ALPH": 0x10, b"EXIF": 0x08, b"ANMF": 0x02}
_ALPHA = _FLAGS[b"ALPH"]


def rebuild_webp(content: Content) -> bytes:
    """Keep one image, or the first frame of an animation, with its profile and its EXIF."""
    parts: dict[bytes, bytes] = {}
    at = _RIFF_BYTES
    for _ in range(_MAX_PARTS):
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
    flags = unpack("B", parts.get(b"VP8X", b"\0"))[0] & _ALPHA
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


# --- GIF: GIF89a, sections 17 to 27 ---

_GRAPHIC_CONTROL = b"!\xf9\4"
_GRAPHIC_CONTROL_BYTES = 8
_DESCRIPTOR_BYTES = 10


def rebuild_gif(content: Content) -> bytes:
    """Keep the first frame and its graphic control extension only."""
    (flags,) = unpack("B", content, 10)
    at = GIF_HEADER_BYTES + (colour_table_bytes(flags) if flags & 0x80 else 0)
    head, control = content[:at], b""
    for _ in range(_MAX_PARTS):
        if content[at : at + 1] == b",":
            break
        if content[at : at + 3] == _GRAPHIC_CONTROL:
            control = content[at : at + _GRAPHIC_CONTROL_BYTES]
        at = after_sub_blocks(content, at + 2)
    (flags,) = unpack("B", content, at + 9)
    data = at + _DESCRIPTOR_BYTES + (colour_table_bytes(flags) if flags & 0x80 else 0)
    return head + control + content[at : after_sub_blocks(content, data + 1)] + b";"


_REBUILDERS: dict[ImageFormat, Callable[[Content], bytes]] = {
    ImageFormat.BMP: lambda content: content[: len(content)],  # see `read_bmp`
    ImageFormat.JPEG: rebuild_jpeg,
    ImageFormat.PNG: rebuild_png,
    ImageFormat.WEBP: rebuild_webp,
    ImageFormat.GIF: rebuild_gif,
    ImageFormat.HEIC: rebuild_heif,
    ImageFormat.AVIF: rebuild_heif,
}
