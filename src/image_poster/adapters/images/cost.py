"""An estimate of an image's memory and work, from its header, before a pixel is decoded.

The figures are the peak memory of decoders, measured for each kind of each format and rounded up.
The kernel limits a child to its declared memory (`confinement.bound_address_space`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import pyvips

from image_poster.adapters.images.child import AcquireMemory
from image_poster.adapters.images.colour import is_srgb
from image_poster.adapters.images.header_facts import HeaderFacts
from image_poster.domain.images import (
    MAX_SIDE,
    ImageFormat,
    ImageRejectedError,
    Size,
    max_decoder_bytes,
    working_size,
)

# Buffers of decoders and of the encoder, and what Python and libvips touch in a new process.
_BASE_BYTES = 20_000_000
# Rows that libvips keeps of an image that is decoded from its top down.
_ROWS = 1600
# A pixel of the small image: as decoded, turned, and in both renditions; and in linear light.
_SMALL_PIXEL_BYTES, _LINEAR_PIXEL_BYTES = 8, 40
# A pixel of a WebP or GIF, which are decoded whole; with a canvas beside it if there are several.
_WHOLE_PIXEL_BYTES, _ANIMATED_PIXEL_BYTES = 6, 10
# Passes over all pixels: usual progressive JPEG have ten scans, and one of 100 MP then takes 10 s.
_MAX_VISITED_PIXELS = 2_400_000_000


class DecodeEstimate(NamedTuple):
    """The size of an image and the cost of its decoding, from its header.

    - width, height: as decoded, in pixels
    - row_bytes: bytes of a pixel in the rows that pass through, 0 if none do
    - pixel_bytes: bytes of a pixel that stays in memory until the last one is decoded
    - held_bytes: bytes in memory that do not depend on the pixels, such as the file
    - visited: pixels that the decoder works on, summed over all scans or tiles
    - is_linear: True if colours are converted in linear light
    """

    width: int
    height: int
    row_bytes: int
    pixel_bytes: float = 0
    held_bytes: int = 0
    visited: int = 0
    is_linear: bool = False


def needed_bytes(shape: DecodeEstimate) -> int:
    """Return the most memory, in bytes, that decoding and both renditions need."""
    small = working_size(Size(shape.width, shape.height))
    return int(
        _BASE_BYTES
        + shape.width * shape.height * shape.pixel_bytes
        + min(shape.height, _ROWS) * shape.width * shape.row_bytes
        + small.width
        * small.height
        * (_LINEAR_PIXEL_BYTES if shape.is_linear else _SMALL_PIXEL_BYTES)
        + shape.held_bytes
    )


def vips_shape(
    image_format: ImageFormat, header: pyvips.Image, facts: HeaderFacts, file_bytes: int
) -> DecodeEstimate:
    """Estimate an image that libvips decodes from its top down, if its format allows that."""
    width, height = header.width, header.height
    row = header.bands * (2 if header.format == "ushort" else 1)
    shape = DecodeEstimate(width, height, row, is_linear=not is_srgb(facts.colour))
    is_interlaced = bool(header.get_typeof("interlaced"))
    if image_format is ImageFormat.JPEG:
        samples = facts.samples or (header.bands if is_interlaced else 0)
        held = 2 * file_bytes if facts.lacks_end else 0
        visited = width * height * facts.scans
        return shape._replace(pixel_bytes=2 * samples, held_bytes=held, visited=visited)
    if image_format is ImageFormat.PNG:
        is_whole = facts.interlaced or is_interlaced
        return shape._replace(pixel_bytes=row if is_whole else 0)
    pixel = _ANIMATED_PIXEL_BYTES if header.get_n_pages() > 1 else _WHOLE_PIXEL_BYTES
    return shape._replace(pixel_bytes=pixel, held_bytes=file_bytes)


@dataclass(frozen=True)
class Admission:
    """Admits an image to its decoder if it is within the limits, once its memory is granted.

    `max_pixels` counts width times height, `memory_bytes` is the limit of one image, and
    `acquire_memory` is called with the bytes that it needs.
    """

    max_pixels: int
    memory_bytes: int
    acquire_memory: AcquireMemory

    def check(self, width: int, height: int) -> None:
        """Check the size in pixels. Raises `ImageRejectedError`."""
        if width * height > self.max_pixels:
            raise _too_large(width, height, f"at most {self.max_pixels:,} are taken.")
        if max(width, height) > MAX_SIDE:
            raise _too_large(width, height, f"a side has at most {MAX_SIDE:,}.")

    def admit(self, image_format: ImageFormat, shape: DecodeEstimate) -> None:
        """Return when the memory is granted. Raises `ImageRejectedError` for an image that exceeds
        a limit of memory or time."""
        self.check(shape.width, shape.height)
        if shape.visited > _MAX_VISITED_PIXELS:
            raise ImageRejectedError(
                "image_too_large",
                "The image is stored in so many scans or tiles that it would take too long. Save "
                "it anew as a usual JPEG, and post that.",
            )
        needs = needed_bytes(shape)
        most = max_decoder_bytes(image_format, self.memory_bytes)
        if needs > most:
            raise ImageRejectedError(
                "image_too_large",
                f"Decoding this image takes up to {needs / 1e6:,.0f} MB of memory; at most "
                f"{most / 1e6:,.0f} MB are there for one. Send it smaller, or as a usual JPEG.",
            )
        self.acquire_memory(needs)


def _too_large(width: int, height: int, rule: str) -> ImageRejectedError:
    return ImageRejectedError("image_too_large", f"The image has {width} x {height} pixels; {rule}")
