"""Facts from an image's header, and the estimate of memory and work that follows from them.

Every number in a header is untrusted. The readers of the formats ignore an invalid header and let
the decoder decide: an image that decodes is never refused for its header.
"""

import io
import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from image_poster.adapters.images.colour import Colour, is_srgb
from image_poster.domain.images import (
    MAX_SIDE,
    ImageFormat,
    ImageRejectedError,
    Size,
    max_decoder_bytes,
    working_size,
)

# Bytes in memory, or a file mapped into it; slices past the end are short.
Content = bytes | mmap.mmap

# Markers, chunks, extensions or blocks that a reader looks at.
MAX_SEGMENTS = 10_000

# The figures of an estimate are the peak memory of decoders, measured for each kind of each format
# and rounded up. The kernel limits a child to them (`confinement.limit_address_space`).
# Buffers of decoders and of the encoder, and what Python and libvips touch in a new process.
_BASE_BYTES = 20_000_000
# Rows that libvips keeps of an image that is decoded from its top down.
_ROWS = 1600
# A pixel of the small image: as decoded, turned, and in both renditions; and in linear light.
_SMALL_PIXEL_BYTES, _LINEAR_PIXEL_BYTES = 8, 40
# Passes over all pixels: usual progressive JPEG have ten scans, and one of 100 MP then takes 10 s.
_MAX_VISITED_PIXELS = 2_400_000_000


class BadHeaderError(Exception):
    """The header contradicts itself or is cut off."""


def unsupported(kind: str) -> ImageRejectedError:
    """Make the error of an unsupported image; `kind` is its format in words, with the article."""
    return ImageRejectedError(
        "image_unsupported",
        f"This is {kind}, which the service cannot show. Convert it to a usual JPEG or PNG, "
        "and post that.",
    )


def unpack(layout: str, content: Content, offset: int = 0) -> tuple[int, ...]:
    """Unpack like `struct.unpack_from`, but raise `BadHeaderError` if bytes are missing."""
    try:
        return struct.unpack_from(layout, content, offset)
    except struct.error as exc:
        raise BadHeaderError("the header breaks off") from exc


def file_size(descriptor: int) -> int:
    """Return the bytes of an open file. `fstat` of glibc is a call by path, which a decoder may not
    make."""
    return os.lseek(descriptor, 0, os.SEEK_END)


def map_file(descriptor: int) -> mmap.mmap:
    """Map all of an open file that is not empty into memory."""
    return mmap.mmap(descriptor, file_size(descriptor), access=mmap.ACCESS_READ)


def open_file(descriptor: int, stand_in: bytes | None = None) -> BinaryIO:
    """Open the descriptor's file again from its beginning, for decoders that read Python's files;
    the descriptor stays open. If there is a `stand_in`, return a file of it instead."""
    if stand_in is not None:
        return io.BytesIO(stand_in)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return open(descriptor, "rb", closefd=False)


class DecodeEstimate(NamedTuple):
    """The size of an image and the cost of its decoding, from its header.

    - width, height: as decoded, in pixels
    - row_bytes: bytes of a pixel in the rows that pass through, 0 if none do
    - pixel_bytes: bytes of a pixel that stays in memory until the last one is decoded
    - fixed_bytes: bytes in memory that do not depend on the pixels, such as the file
    - visited: pixels that the decoder works on, summed over all scans or tiles
    - is_linear: True if colours are converted in linear light
    """

    width: int
    height: int
    row_bytes: int
    pixel_bytes: float = 0
    fixed_bytes: int = 0
    visited: int = 0
    is_linear: bool = False

    @property
    def needed_bytes(self) -> int:
        """The most memory, in bytes, that decoding and both renditions need."""
        small = working_size(Size(self.width, self.height))
        return int(
            _BASE_BYTES
            + self.width * self.height * self.pixel_bytes
            + min(self.height, _ROWS) * self.width * self.row_bytes
            + small.width
            * small.height
            * (_LINEAR_PIXEL_BYTES if self.is_linear else _SMALL_PIXEL_BYTES)
            + self.fixed_bytes
        )


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
    - coded_pixels: pixels of all parts of the image
    - tiles: True if the image is composed of other items
    - is_plain: True for one coded item or a grid of them that is not cropped
    """

    codec: str
    planes_bytes: float
    sample_bytes: int
    coded_pixels: int = 0
    tiles: bool = False
    is_plain: bool = False


class HeaderFacts(NamedTuple):
    """Facts from a header that libvips does not report.

    - size: width and height, None if only the decoder knows them
    - frame: the first frame of a GIF
    - lacks_end: True for a JPEG without a last marker (EOI)
    - samples: coefficients a pixel that a JPEG keeps until its last scan, 0 if it keeps none
    - scans: the number of a JPEG's scans
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
    steps: int = 0
    exif_orientation: int = 1
    colour: Colour | None = None
    coding: Coding | None = None
    lacks_tile: bool = False
    stand_in: bytes | None = None
    is_rebuilt: bool = False

    @property
    def stand_in_bytes(self) -> int:
        return len(self.stand_in or b"")

    def estimate(
        self, width: int, height: int, row_bytes: int, pixel_bytes: float = 0, fixed_bytes: int = 0
    ) -> DecodeEstimate:
        """Estimate an image with this header."""
        visited = self.coding.coded_pixels if self.coding else self.steps
        is_linear = not is_srgb(self.colour)
        return DecodeEstimate(
            width, height, row_bytes, pixel_bytes, fixed_bytes, visited, is_linear
        )


@dataclass(frozen=True)
class Admission:
    """Admits an image to its decoder if it is within the limits, once its memory is granted.

    `max_pixels` counts width times height, `memory_bytes` is the limit of one image, and
    `acquire_memory` is called with the bytes that it needs.
    """

    max_pixels: int
    memory_bytes: int
    acquire_memory: Callable[[int], None]

    def check(self, width: int, height: int) -> None:
        """Check the size in pixels. Raises `ImageRejectedError`."""
        if width * height > self.max_pixels:
            raise _too_large(width, height, f"the limit is {self.max_pixels:,}.")
        if max(width, height) > MAX_SIDE:
            raise _too_large(width, height, f"the limit of a side is {MAX_SIDE:,}.")

    def admit(self, image_format: ImageFormat, estimate: DecodeEstimate) -> None:
        """Return when the memory is granted. Raises `ImageRejectedError` for an image that exceeds
        a limit of memory or time."""
        self.check(estimate.width, estimate.height)
        if estimate.visited > _MAX_VISITED_PIXELS:
            raise ImageRejectedError(
                "image_too_large",
                "The image has so many scans or tiles that decoding would take too long. Save it "
                "as a usual JPEG, and post that.",
            )
        needs = estimate.needed_bytes
        limit = max_decoder_bytes(image_format, self.memory_bytes)
        if needs > limit:
            raise ImageRejectedError(
                "image_too_large",
                f"Decoding this image takes up to {needs / 1e6:,.0f} MB of memory; the limit is "
                f"{limit / 1e6:,.0f} MB. Send a smaller image, or a usual JPEG.",
            )
        self.acquire_memory(needs)


def _too_large(width: int, height: int, rule: str) -> ImageRejectedError:
    return ImageRejectedError("image_too_large", f"The image has {width} x {height} pixels; {rule}")
