"""HEIC, and AVIF for which libvips would need too much memory: pillow-heif and Pillow's libavif
decode the pixels, and libvips gets them unchanged."""

from typing import NamedTuple

import pillow_heif
import pyvips
from PIL import _avif

from image_poster.adapters.images.colour import is_srgb
from image_poster.adapters.images.cost import Admission, DecodeEstimate
from image_poster.adapters.images.header_facts import (
    BadHeaderError,
    Coding,
    HeaderFacts,
    file_of,
    size_of,
)
from image_poster.domain.images import ImageFormat

ICC = "icc-profile-data"
# What is not told is assumed: 12 bits, no subsampling, alpha.
_WORST = Coding("", planes_bytes=8, sample_bytes=2, alpha=True)
# Deep images up to this size are left to libvips, which keeps all their bits.
_MAX_DEEP_PIXELS = 16_000_000
_MAX_LIBAVIF_SIDE = 32_768  # AVIF_DEFAULT_IMAGE_DIMENSION_LIMIT


class _Samples(NamedTuple):
    """The format of libvips for the pixels of a pillow-heif mode."""

    kind: str
    bands: int
    interpretation: str

    @property
    def pixel_bytes(self) -> int:
        return self.bands * (2 if self.kind == "ushort" else 1)


_HEIF_MODES = {
    "L": _Samples("uchar", 1, "b-w"),
    "LA": _Samples("uchar", 2, "b-w"),
    "RGB": _Samples("uchar", 3, "srgb"),
    "RGBA": _Samples("uchar", 4, "srgb"),
    "I;16": _Samples("ushort", 1, "grey16"),
    "I;16L": _Samples("ushort", 1, "grey16"),
    "LA;16": _Samples("ushort", 2, "grey16"),
    "RGB;16": _Samples("ushort", 3, "rgb16"),
    "RGBA;16": _Samples("ushort", 4, "rgb16"),
}


def open_heic(descriptor: int, facts: HeaderFacts, admission: Admission) -> pyvips.Image:
    """Decode a HEIC with all its bits: pillow-heif's conversion to 8 bits loses grey images. It
    turns the image upright by the file's own transforms. Raises `ImageRejectedError`."""
    # A rebuilt file has no item that is not needed: their number is bounded by the pixels.
    pillow_heif.options.DISABLE_SECURITY_LIMITS = facts.is_rebuilt
    with file_of(descriptor, facts.stand_in) as file:
        heif = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
        if not len(heif) or 0 in heif.size:
            raise BadHeaderError("no item is an image that has pixels")
        width, height = heif.size
        samples = _HEIF_MODES[heif.mode]
        coding = facts.coding or _WORST
        admission.admit(
            ImageFormat.HEIC,
            DecodeEstimate(
                *(width, height, 0),
                pixel_bytes=samples.pixel_bytes + 2 * coding.planes_bytes,
                held_bytes=2 * size_of(descriptor) + len(facts.stand_in or b""),
                visited=coding.coded_pixels,
                is_linear=not is_srgb(facts.colour),
            ),
        )
        # Rows are padded: an image of all that is there, cut to what is meant.
        across = heif.stride // samples.pixel_bytes
        padded = pyvips.Image.new_from_memory(
            heif.data, across, height, samples.bands, samples.kind
        )
    pixels = padded.crop(0, 0, width, height).copy(interpretation=samples.interpretation)
    return _with_profile(pixels, heif.info.get("icc_profile"))


def avif_shape(width: int, height: int, bands: int, facts: HeaderFacts) -> DecodeEstimate:
    """Estimate an AVIF that libvips decodes: it holds several copies, as measured."""
    coding = facts.coding or _WORST
    return DecodeEstimate(
        *(width, height, bands * coding.sample_bytes),
        pixel_bytes=13 + 2 * coding.planes_bytes,
        held_bytes=len(facts.stand_in or b""),
        visited=coding.coded_pixels,
        is_linear=not is_srgb(facts.colour),
    )


def is_for_libavif(width: int, height: int, facts: HeaderFacts) -> bool:
    """Return True if libavif decodes the image. It takes half of the memory and time of libheif in
    libvips, but gives 8 bits only. In a grid, libheif would leave a damaged tile empty."""
    coding = facts.coding
    if coding is None or not coding.is_plain or max(width, height) > _MAX_LIBAVIF_SIDE:
        return False
    return coding.tiles or coding.sample_bytes == 1 or width * height > _MAX_DEEP_PIXELS


def open_by_libavif(
    descriptor: int, facts: HeaderFacts, admission: Admission
) -> tuple[pyvips.Image, int] | None:
    """Decode with the libavif in Pillow; return the pixels without rotation, and their orientation.
    Return None if libavif cannot read the header, which libheif may. Raises
    `ImageRejectedError`."""
    coding = facts.coding or _WORST
    try:
        with file_of(descriptor, facts.stand_in) as file:
            # Not as an image of Pillow's, which would be one more copy.
            decoder = _avif.AvifDecoder(file.read(), "auto", 1)
    except (SyntaxError, ValueError):
        return None
    (width, height), _, mode, icc, _, turned_by_boxes, _ = decoder.get_info()
    bands = len(mode)
    admission.admit(
        ImageFormat.AVIF,
        DecodeEstimate(
            *(width, height, 0),
            # The planes (of tiles: twice), the pixels, and their copy for Python.
            pixel_bytes=coding.planes_bytes * (2 if coding.tiles else 1) + 2 * bands,
            held_bytes=2 * size_of(descriptor) + len(facts.stand_in or b""),
            visited=coding.coded_pixels,
            is_linear=not is_srgb(facts.colour),
        ),
    )
    content, *_ = decoder.get_frame(0)
    pixels = pyvips.Image.new_from_memory(content, width, height, bands, "uchar")
    image = _with_profile(pixels.copy(interpretation="srgb"), icc)
    return image, turned_by_boxes if turned_by_boxes != 1 else facts.exif_orientation


def _with_profile(pixels: pyvips.Image, profile: bytes | None) -> pyvips.Image:
    if profile:
        pixels.set_type(pyvips.GValue.blob_type, ICC, profile)
    return pixels
