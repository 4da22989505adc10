"""Image rules: recognition of formats, limits on input, the sizes of renditions, and the form of a
perceptual hash."""

import re
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

RENDITION_SMALL = "600"
RENDITION_LARGE = "1600"
RENDITIONS = (RENDITION_SMALL, RENDITION_LARGE)
SMALL_SIDE = 600
LARGE_SIDE = 1600
SNIFF_BYTES = 64
# The longest side that a JPEG can have (65,535), rounded down. Longer images are attacks.
MAX_SIDE = 65_500

ImageFit = Literal["cover", "contain", "pad"]


class ImageFormat(StrEnum):
    """The accepted formats, by media type."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    BMP = "image/bmp"
    WEBP = "image/webp"
    GIF = "image/gif"
    HEIC = "image/heic"
    AVIF = "image/avif"


# The most memory in bytes that one image of a format may use to decode, if the budget has more.
_MAX_DECODER_BYTES = {ImageFormat.AVIF: 800_000_000}

# The memory of the most expensive image of each format, in bytes a pixel: deep, with alpha,
# interlaced, composed of tiles (adapters/images/header). `_BESIDE_BYTES` do not depend on pixels.
_WORST_PIXEL_BYTES = {
    ImageFormat.JPEG: 8,
    ImageFormat.PNG: 8,
    ImageFormat.BMP: 11,
    ImageFormat.WEBP: 10,
    ImageFormat.GIF: 10,
    ImageFormat.HEIC: 24,
    ImageFormat.AVIF: 29,
}
_BESIDE_BYTES = 250_000_000

# Other names of the same that clients are seen to use.
_ALIASES = {
    "image/jpg": ImageFormat.JPEG,
    "image/pjpeg": ImageFormat.JPEG,
    "image/heif": ImageFormat.HEIC,
    "image/x-ms-bmp": ImageFormat.BMP,
    "image/x-bmp": ImageFormat.BMP,
}
# The gallery gets these tables from here (scripts/image_types.py). The expressions mean the same to
# Python and to JavaScript; each byte is a character.
SIGNATURES = {
    # SOI, then a marker: those under 0xC0 cannot follow it.
    ImageFormat.JPEG: r"\xff\xd8\xff[\xc0-\xff]",
    ImageFormat.PNG: r"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR",
    ImageFormat.GIF: r"GIF8[79]a[\x00-\xff]{8}",
    ImageFormat.WEBP: r"RIFF[\x00-\xff]{4}WEBPVP8[ LX]",
    ImageFormat.BMP: r"BM[\x00-\xff]{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00",
}
# The first format of which the file has a brand. The last three are of HEIF as such, whatever
# the coding: the decoder looks for that in the boxes.
BRANDS = {
    ImageFormat.AVIF: ("avif", "avis"),
    ImageFormat.HEIC: ("heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1"),
}
# `ftyp` with one brand has 16 bytes; the longest seen have a dozen brands.
MIN_FTYP_BYTES, MAX_FTYP_BYTES = 16, 256
_PATTERNS = {name: re.compile(pattern.encode()) for name, pattern in SIGNATURES.items()}


def sniff(head: bytes | bytearray) -> ImageFormat | None:
    """The format that the first `SNIFF_BYTES` of a file show, or None. File names are ignored.

    A signature alone is four bytes that can stand in any text, so the fields behind it must make
    sense too.

    - Signatures: the WHATWG MIME Sniffing Standard, section 6.1.
    - PNG (third edition) 11.2.1: `IHDR` comes first.
    - GIF89a, section 18; the WebP container, "WebP file header".
    - BMP: the sizes of the headers that it has had.
    - HEIC and AVIF: ISO/IEC 14496-12, 4.3.
    """
    start = bytes(head[:SNIFF_BYTES])
    for image_format, pattern in _PATTERNS.items():
        if pattern.match(start):
            return image_format
    return _sniff_isobmff(start)


def _sniff_isobmff(head: bytes) -> ImageFormat | None:
    """The format of a file that begins with the box `ftyp`, of a plausible size, if its brands say
    HEIC or AVIF. The compatible brands decide when the major one is the general `mif1`; without any
    other, it counts as HEIC until its boxes are read."""
    size = int.from_bytes(head[:4])
    if head[4:8] != b"ftyp" or not MIN_FTYP_BYTES <= size <= MAX_FTYP_BYTES or size % 4:
        return None
    box = head[8:size].decode("latin-1")
    # A brand is four bytes; the second four are the minor version.
    brands = {box[at : at + 4] for at in (0, *range(8, len(box), 4))}
    return next((name for name, known in BRANDS.items() if not brands.isdisjoint(known)), None)


def declared_format(content_type: str) -> ImageFormat | None:
    """The format of a declared media type. It is for checks of the declaration only; `sniff` checks
    the bytes."""
    lower = content_type.lower()
    try:
        return _ALIASES.get(lower) or ImageFormat(lower)
    except ValueError:
        return None


def max_decoder_bytes(image_format: ImageFormat, memory_bytes: int) -> int:
    """The most memory that one image of a format may use, out of `memory_bytes`."""
    return min(memory_bytes, _MAX_DECODER_BYTES.get(image_format, memory_bytes))


def certain_pixels(image_format: ImageFormat, max_pixels: int, memory_bytes: int) -> int:
    """The number of pixels up to which an image of a format is accepted, however it is coded. A
    larger one, up to `max_pixels`, is accepted if it decodes within its `max_decoder_bytes`."""
    left = max(0, max_decoder_bytes(image_format, memory_bytes) - _BESIDE_BYTES)
    return min(max_pixels, left // _WORST_PIXEL_BYTES[image_format])


class Size(msgspec.Struct, frozen=True):
    """Width and height in pixels, upright."""

    width: int
    height: int

    def scaled(self, factor: float) -> "Size":
        """The size times `factor`, each side rounded and at least one pixel."""
        return Size(max(1, round(self.width * factor)), max(1, round(self.height * factor)))


def large_size(source: Size) -> Size:
    """The size of the rendition `1600`: the whole image, longest side at most 1600, never
    enlarged."""
    return source.scaled(min(1.0, LARGE_SIDE / max(source.width, source.height)))


def working_size(source: Size) -> Size:
    """The smallest decode from which both renditions can be made without enlarging twice.

    That is the `1600` itself, but for images so long that its short side is under 600.
    """
    longest, shortest = max(source.width, source.height), min(source.width, source.height)
    return source.scaled(min(1.0, max(LARGE_SIDE / longest, SMALL_SIDE / shortest)))


class RenderedImage(msgspec.Struct, frozen=True):
    """The result of image work: sizes of both renditions, a BlurHash as placeholder, and a hash.

    `hash` and `hash_quality` are of the whole upright image (`domain.hashes.ImageHash`). Results
    from before there were hashes have the empty hash.
    """

    small: Size
    large: Size
    placeholder: str
    hash: str = ""
    hash_quality: int = 0


class ImageRejectedError(Exception):
    """An image that cannot be shown. `code` and `detail` become the post's `failure`."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code}: {detail}")


class ImageWorkFailedError(Exception):
    """Image work failed through no fault of the image; it can be retried."""


HASH_DIGITS = 64
MAX_QUALITY = 100

_HASH = re.compile(rf"[0-9a-f]{{{HASH_DIGITS}}}", re.ASCII | re.IGNORECASE)


class ImageHash(NamedTuple):
    """The PDQ hash of an image as 64 hexadecimal digits, and its quality, 0 to 100."""

    digits: str
    quality: int


def is_hash(text: str) -> bool:
    """Return True for 64 hexadecimal digits."""
    return _HASH.fullmatch(text) is not None
