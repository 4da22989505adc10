"""Facts from headers that libvips does not report, read by plain Python before a decoder begins.

Every number in a header is untrusted. The readers ignore an invalid header and let the decoder
decide: an image that decodes is never refused for its header.
"""

import io
import mmap
import os
import struct
from typing import BinaryIO, NamedTuple

from image_poster.adapters.images.colour import Colour
from image_poster.domain.images import ImageRejectedError

# Bytes in memory, or a file mapped into it; slices past the end are short.
Content = bytes | mmap.mmap

_MAX_SEGMENTS = 10_000


def size_of(descriptor: int) -> int:
    """Return the bytes of an open file. `fstat` of glibc is a call by path, which a decoder may not
    make."""
    return os.lseek(descriptor, 0, os.SEEK_END)


def mapped(descriptor: int) -> mmap.mmap:
    """Map all of an open file that is not empty into memory."""
    return mmap.mmap(descriptor, size_of(descriptor), access=mmap.ACCESS_READ)


def file_of(descriptor: int, stand_in: bytes | None = None) -> BinaryIO:
    """Open the descriptor's file again from its beginning, for decoders that read Python's files;
    the descriptor stays open. If there is a `stand_in`, return a file of it instead."""
    if stand_in is not None:
        return io.BytesIO(stand_in)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return open(descriptor, "rb", closefd=False)


class BadHeaderError(Exception):
    """The header contradicts itself or is cut off."""


class Frame(NamedTuple):
    """The position and size of a frame on its canvas, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Coding(NamedTuple):
    """The coding of a HEIC or AVIF.

    - codec: the type of the coded items, hvc1 or av01
    - planes_bytes: bytes of a pixel in the coded planes, alpha included
    - sample_bytes: 1 for 8 bits, else 2
    - alpha: True if there is any
    - coded_pixels: pixels of all parts of the image
    - tiles: True if the image is composed of other items
    - is_plain: True for one coded item or a grid of them that is not cropped
    """

    codec: str
    planes_bytes: float
    sample_bytes: int
    alpha: bool
    coded_pixels: int = 0
    tiles: bool = False
    is_plain: bool = False


class HeaderFacts(NamedTuple):
    """Facts from a header.

    - size: width and height, None if only the decoder knows them
    - frame: the first frame of a GIF
    - lacks_end: True for a JPEG without a last marker (EOI)
    - samples: coefficients a pixel that a JPEG keeps until its last scan, 0 if it keeps none
    - scans: the number of a JPEG's scans
    - interlaced: True for an interlaced PNG, whose decoder keeps all pixels
    - steps: the cost of a BMP coded in run lengths, in pixels
    - exif_orientation: that of a HEIC or AVIF without a transform of its own that turns it
    - colour: the colours of a HEIC, AVIF or PNG as code points
    - coding: that of a HEIC or AVIF
    - lacks_tile: True if a part of a HEIC has no data
    - stand_in: bytes that are decoded in place of the file
    - is_rebuilt: True if the stand-in has only the parts that its pixels need
    """

    size: tuple[int, int] | None = None
    frame: Frame | None = None
    lacks_end: bool = False
    samples: float = 0
    scans: int = 1
    interlaced: bool = False
    steps: int = 0
    exif_orientation: int = 1
    colour: Colour | None = None
    coding: Coding | None = None
    lacks_tile: bool = False
    stand_in: bytes | None = None
    is_rebuilt: bool = False


def unsupported(kind: str) -> ImageRejectedError:
    """Make the error of an unsupported image; `kind` is its format in words, with the article."""
    return ImageRejectedError(
        "image_unsupported",
        f"This is {kind}, which cannot be shown here. Convert it to a usual JPEG or PNG, "
        "and post that.",
    )


def unpack(layout: str, content: Content, offset: int = 0) -> tuple[int, ...]:
    """Unpack like `struct.unpack_from`, but raise `BadHeaderError` if bytes are missing."""
    try:
        return struct.unpack_from(layout, content, offset)
    except struct.error as exc:
        raise BadHeaderError("the header breaks off") from exc


# --- JPEG: ITU-T T.81, annex B ---

STANDALONE_MARKERS = {0x01, *range(0xD0, 0xD8)}  # markers without a length
_SOS, _EOI = 0xDA, 0xD9
SOF_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_SOF_PROGRESSIVE = {0xC2, 0xCA}
_SOF_ARITHMETIC = {0xC9, 0xCA}
_SOF_NOT_DECODED = {
    **dict.fromkeys((0xC3, 0xC7, 0xCB, 0xCF), "a lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xCD, 0xCE), "a hierarchical JPEG"),
    0xF7: "a JPEG-LS",
}
_BITS_DECODED = 8


def read_jpeg(content: Content) -> HeaderFacts:
    """Read the facts of a JPEG. Raises `BadHeaderError`, and `ImageRejectedError` for a kind that
    libjpeg does not decode."""
    at, sof, samples, components, size = 2, 0, 0.0, 0, (0, 0)
    for _ in range(_MAX_SEGMENTS):
        marker, at = _next_marker(content, at)
        if marker in STANDALONE_MARKERS:
            continue
        if marker in _SOF_NOT_DECODED:
            raise unsupported(_SOF_NOT_DECODED[marker])
        length, first = unpack(">HB", content, at)
        if marker in SOF_DECODED:
            sof = marker
            if first != _BITS_DECODED:
                raise unsupported(f"a JPEG of {first} bits a sample")
            components, samples = _samples(content, at)
            height, width = unpack(">HH", content, at + 3)
            size = width, height
        if marker == _SOS:
            # From here on: a thumbnail within the header has a last marker of its own.
            ended = content.rfind(b"\xff\xd9", at) >= 0
            whole = sof not in _SOF_PROGRESSIVE or ended or _has_all_scans(content, at - 2)
            # Where arithmetic coding breaks off, libjpeg does not warn.
            whole = whole and sof not in _SOF_ARITHMETIC
            is_kept = sof in _SOF_PROGRESSIVE or first < components
            return HeaderFacts(
                size=size,
                lacks_end=not ended and whole,
                samples=samples if is_kept else 0,
                scans=_scans(content, at - 2) if is_kept else 1,
            )
        at += length
    raise BadHeaderError("too many segments")


def _samples(content: Content, at: int) -> tuple[int, float]:
    """Return the number of components of a frame, and of samples for each pixel (T.81, B.2.2)."""
    (components,) = unpack("B", content, at + 7)
    factors = unpack(f"{3 * components}B", content, at + 8)[1::3]
    areas = [(factor >> 4) * (factor & 15) for factor in factors]
    if not areas or not all(areas):
        raise BadHeaderError("a component without samples")
    return components, sum(areas) / max(areas)


def _scans(content: Content, at: int) -> int:
    """Count the scans, up to `_MAX_SEGMENTS`."""
    for count in range(_MAX_SEGMENTS):
        if at < 0:
            return count
        at = content.find(b"\xff\xda", at + 2)
    return _MAX_SEGMENTS


def _has_all_scans(content: Content, at: int) -> bool:
    """Return True if the scans of a progressive JPEG contain every coefficient of every component
    to its last bit (T.81, G.1.1). If the file ends between two scans, no block shows it."""
    lacking: set[tuple[int, int]] = set()
    for _ in range(_MAX_SEGMENTS):
        (count,) = unpack("B", content, at + 4)
        components = unpack(f"{2 * count}B", content, at + 5)[::2]
        first, last, bits = unpack("BBB", content, at + 5 + 2 * count)
        for component in components:
            if first == 0 and last == 0 and bits >> 4 == 0:
                lacking |= {(component, index) for index in range(64)}
            if bits & 15 == 0:
                lacking -= {(component, index) for index in range(first, last + 1)}
        at = content.find(b"\xff\xda", at + 2)
        if at < 0:
            return not lacking
    return False


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


# --- GIF: GIF89a, sections 18 to 20 ---

GIF_HEADER_BYTES = 13


def read_gif(content: Content) -> HeaderFacts:
    """Read the canvas and the position of the first frame. Raises `BadHeaderError`."""
    (flags,) = unpack("B", content, 10)
    at = GIF_HEADER_BYTES + (colour_table_bytes(flags) if flags & 0x80 else 0)
    for _ in range(_MAX_SEGMENTS):
        if content[at : at + 1] == b",":
            width, height = unpack("<HH", content, 6)
            return HeaderFacts(size=(width, height), frame=Frame(*unpack("<HHHH", content, at + 1)))
        if content[at : at + 1] != b"!":
            break
        at = after_sub_blocks(content, at + 2)
    raise BadHeaderError("no frame")


# --- WebP: the container's specification, "Extended File Format" ---


def read_webp(content: Content) -> HeaderFacts:
    """Read the canvas of an animation. Raises `BadHeaderError`."""
    if content[12:16] != b"VP8X" or not unpack("B", content, 20)[0] & 0x02:
        return HeaderFacts()
    width, height = (int.from_bytes(content[at : at + 3], "little") + 1 for at in (24, 27))
    return HeaderFacts(size=(width, height))


def colour_table_bytes(flags: int) -> int:
    """Return the size of a colour table: three bytes for each of two to 256 colours."""
    return 3 << (flags & 7) + 1


def after_sub_blocks(content: Content, at: int) -> int:
    """Return the offset behind the empty block that ends the blocks at `at`."""
    for _ in range(_MAX_SEGMENTS):
        (length,) = unpack("B", content, at)
        at += 1 + length
        if length == 0:
            return at
    raise BadHeaderError("an extension without an end")


# --- PNG: third edition, section 11.3 ---


_SRGB_GAMMA = 45_455
_SRGB_POINTS = (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)


def read_png(content: Content) -> HeaderFacts:
    """Read the colours from the chunks before the pixels. cICP wins over iCCP, iCCP over sRGB, and
    sRGB over gAMA and cHRM (section 4.3). Raises `BadHeaderError`."""
    chunks: dict[bytes, int] = {}
    at = 8
    for _ in range(_MAX_SEGMENTS):
        (length,) = unpack(">I", content, at)
        name = content[at + 4 : at + 8]
        if name in (b"IDAT", b"IEND"):
            width, height = unpack(">II", content, 16)
            return HeaderFacts(
                size=(width, height),
                colour=_png_colour(content, chunks),
                interlaced=unpack("B", content, 28) != (0,),
            )
        chunks[name] = at + 8
        at += 12 + length
    raise BadHeaderError("too many chunks")


def _png_colour(content: Content, chunks: dict[bytes, int]) -> Colour | None:
    if b"cICP" in chunks:
        primaries, transfer = unpack(">BB", content, chunks[b"cICP"])
        return Colour(primaries, transfer)
    if b"iCCP" in chunks or b"sRGB" in chunks:
        return None
    gamma, points = _SRGB_GAMMA, _SRGB_POINTS
    if b"gAMA" in chunks:
        (gamma,) = unpack(">I", content, chunks[b"gAMA"])
    if b"cHRM" in chunks:
        points = unpack(">8I", content, chunks[b"cHRM"])  # type: ignore[assignment]
    if not _makes_sense(gamma, points):
        return None
    usual_gamma = abs(gamma - _SRGB_GAMMA) < 1_000  # noqa: PLR2004 - 0.01, as encoders round
    usual = all(abs(a - b) < 500 for a, b in zip(points, _SRGB_POINTS, strict=True))  # noqa: PLR2004
    return Colour(
        gamma=None if usual_gamma else 100_000 / gamma,
        chromaticities=None if usual else tuple(point / 100_000 for point in points),
    )


def _makes_sense(gamma: int, points: tuple[int, ...]) -> bool:
    """Return True for exponents of 0.5 to 5, and a triangle of colours that has an area."""
    _, _, red_x, red_y, green_x, green_y, blue_x, blue_y = points
    area = (green_x - red_x) * (blue_y - red_y) - (blue_x - red_x) * (green_y - red_y)
    in_range = all(0 < point <= 100_000 for point in points)  # noqa: PLR2004 - 1.0
    return 20_000 <= gamma <= 200_000 and in_range and abs(area) > 10_000_000  # noqa: PLR2004
