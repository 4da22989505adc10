"""BMP of 16, 24 and 32 bits a pixel with any bit masks, by arithmetic of libvips on the mapped
file. Pillow decodes the other kinds (palettes, run lengths)."""

import struct
from typing import NamedTuple

import pyvips
from PIL import Image as PillowImage

from image_poster.adapters.images.colour import DecodedImage, to_working_size
from image_poster.adapters.images.header import (
    Admission,
    BadHeaderError,
    Content,
    HeaderFacts,
    map_file,
    open_file,
    unpack,
    unsupported,
)
from image_poster.domain.images import ImageFormat

# Bytes of headers (BITMAPCOREHEADER; from BITMAPV3INFOHEADER on there is a mask for alpha).
_CORE, _INFO, _WITH_ALPHA_MASK = 12, 40, 56
_PALETTE_BITS = 8
_PLAIN, _BITFIELDS = 0, 3
_NOT_DECODED = {4: "a BMP that holds a JPEG", 5: "a BMP that holds a PNG"}
_RUN_LENGTHS = (1, 2)
# Pillow decodes them in Python: of a byte it takes as long as of this many pixels elsewhere.
_STEPS_A_BYTE = 60
# Bits a pixel, with the masks that apply if there are none in the file: 5 bits each, or a byte each
# (BITMAPINFOHEADER, BI_RGB).
_USUAL_MASKS = {
    16: (0x7C00, 0x03E0, 0x001F, 0),
    24: (0xFF0000, 0x00FF00, 0x0000FF, 0),
    32: (0xFF0000, 0x00FF00, 0x0000FF, 0),
}


class BmpLayout(NamedTuple):
    """The offset and format of the pixels; `masks` are of red, green, blue and alpha."""

    width: int
    height: int
    bottom_up: bool
    bits: int
    pixels_at: int
    masks: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row, padded to a multiple of four."""
        return (self.width * self.bits + 31) // 32 * 4


def read_bmp(content: Content) -> HeaderFacts:
    """Read the facts of a BMP. Raises `ImageRejectedError` if it only wraps another format."""
    compression = _dimensions(content)[3]
    if compression in _NOT_DECODED:
        raise unsupported(_NOT_DECODED[compression])
    steps = len(content) * _STEPS_A_BYTE if compression in _RUN_LENGTHS else 0
    return HeaderFacts(steps=steps, stand_in=_repair(content))


def _repair(content: Content) -> bytes | None:
    """Return the file with the right pixel offset, number of colours and padding of its last row.
    Return None if these are right."""
    width, height, bits, compression = _dimensions(content)
    row = (width * bits + 7) // 8
    size = 0 if compression in _RUN_LENGTHS else (row + 3) // 4 * 4 * (abs(height) - 1) + row
    (header_bytes,) = unpack("<I", content, 14)
    after_header, entry = 14 + header_bytes, 3 if header_bytes == _CORE else 4
    (colours,) = (0,) if header_bytes == _CORE else unpack("<I", content, 46)
    most = 1 << bits if bits <= _PALETTE_BITS else 0
    changes: dict[int, int] = {46: 0} if colours > most > 0 else {}
    (pixels_at,) = unpack("<I", content, 10)
    if not after_header <= pixels_at < len(content):
        has_masks = compression == _BITFIELDS and header_bytes == _INFO
        palette = entry * (min(colours, most) or most)
        changes[10] = pixels_at = after_header + 12 * has_masks + palette
    missing = pixels_at + size + -row % 4 - len(content)
    if size <= 0 or not (changes or 0 < missing <= -row % 4) or pixels_at + size > len(content):
        return None
    repaired = bytearray(content[: len(content)]) + bytes(max(0, missing))
    for offset, value in changes.items():
        struct.pack_into("<I", repaired, offset, value)
    return bytes(repaired)


def read_layout(content: Content) -> BmpLayout | None:
    """Read the layout; return None for a kind that Pillow decodes. Raises `BadHeaderError`."""
    (pixels_at,) = unpack("<I", content, 10)
    width, height, bits, compression = _dimensions(content)
    if bits not in _USUAL_MASKS or compression not in (_PLAIN, _BITFIELDS):
        return None
    if width < 1 or height == 0:
        raise BadHeaderError("a side of the image is 0")
    masks: tuple[int, ...] = _USUAL_MASKS[bits]
    if compression == _BITFIELDS:
        has_alpha = unpack("<I", content, 14)[0] >= _WITH_ALPHA_MASK
        masks = (*unpack("<III", content, 54), unpack("<I", content, 66)[0] if has_alpha else 0)
    return BmpLayout(width, abs(height), height > 0, bits, pixels_at, masks)


def _dimensions(content: Content) -> tuple[int, int, int, int]:
    """Return width, height (negative: top row first), bits a pixel, and compression."""
    if unpack("<I", content, 14)[0] == _CORE:
        width, height, _, bits = unpack("<HHHH", content, 18)
        return width, height, bits, _PLAIN
    width, height, _, bits, compression = unpack("<iiHHI", content, 18)
    return width, height, bits, compression


def decode_bmp(descriptor: int, admission: Admission, facts: HeaderFacts) -> DecodedImage:
    """Decode a BMP. Raises `ImageRejectedError`, `BadHeaderError`, and the errors of decoders."""
    content = facts.stand_in or map_file(descriptor)
    layout = read_layout(content)
    if layout is not None:
        estimate = facts.estimate(layout.width, layout.height, 12, fixed_bytes=facts.stand_in_bytes)
        admission.admit(ImageFormat.BMP, estimate)
        return to_working_size(_pixels(content, layout))
    with (
        open_file(descriptor, facts.stand_in) as file,
        PillowImage.open(file, formats=("BMP",)) as opened,
    ):
        # Pillow has palettes, pixels of four bytes and a copy of three, at once.
        estimate = facts.estimate(*opened.size, 3, 11, 2 * facts.stand_in_bytes)
        admission.admit(ImageFormat.BMP, estimate)
        mode = "RGBA" if "A" in opened.getbands() else "RGB"
        converted = opened if opened.mode == mode else opened.convert(mode)
        pixels = pyvips.Image.new_from_memory(
            converted.tobytes(), converted.width, converted.height, len(mode), "uchar"
        )
    return to_working_size(pixels.copy(interpretation="srgb"))


def _pixels(content: Content, layout: BmpLayout) -> pyvips.Image:
    """Return the image without reading its pixels yet. Raises `BadHeaderError` if the file ends
    before its pixels do."""
    size = layout.row_bytes * layout.height
    if layout.pixels_at + size > len(content):
        raise BadHeaderError("the pixels break off")
    rows = memoryview(content)[layout.pixels_at : layout.pixels_at + size]
    whole = pyvips.Image.new_from_memory(rows, layout.row_bytes, layout.height, 1, "uchar")
    sample = layout.bits // 8
    folded = whole.crop(0, 0, layout.width * sample, layout.height).bandfold(factor=sample)
    masks = layout.masks if layout.masks[3] else layout.masks[:3]
    bands = [_extract(folded, mask) for mask in masks]
    image = bands[0].bandjoin(bands[1:]).copy(interpretation="srgb")
    return image.flipver() if layout.bottom_up else image


def _extract(pixel: pyvips.Image, mask: int) -> pyvips.Image:
    """Return the bits under a mask, scaled to 0 to 255; an empty mask gives black."""
    mask &= (1 << 8 * pixel.bands) - 1
    parts = [(at, mask >> 8 * at & 0xFF) for at in range(pixel.bands) if mask >> 8 * at & 0xFF]
    if not parts:
        return (pixel[0] * 0).cast("uchar")
    if parts == [(parts[0][0], 0xFF)]:
        return pixel[parts[0][0]]
    # Byte by byte: libvips has no unsigned bit operations of 32 bits.
    value = pyvips.Image.black(pixel.width, pixel.height)
    for at, part in parts:
        value += (pixel[at] & part).cast("double") * float(1 << 8 * at)
    return (value * (255 / mask)).rint().cast("uchar")
