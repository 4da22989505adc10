"""An image at its working size, upright and in sRGB, whatever decoder it comes from."""

from collections.abc import Callable
from typing import NamedTuple

import pyvips

from image_poster.adapters.images.colour import Colour, is_srgb, shrunk_to_srgb
from image_poster.adapters.images.heif import ICC
from image_poster.domain.images import Size, working_size

# Classes of profile that say what an image's numbers mean: of a device or a colour space. Links,
# abstract and named ones do not (ICC.1:2022, 7.2.5).
_COLOUR_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
_SHRINKS_OF_JPEG = (8, 4, 2, 1)


class Decoded(NamedTuple):
    """The image upright and in sRGB, shrunk to `domain.images.working_size`; its full size; and
    the bytes that libvips will read when the image is, if they are in memory."""

    image: pyvips.Image
    source: Size
    held: bytes | None = None


def to_working_size(pixels: pyvips.Image, colour: Colour | None = None) -> Decoded:
    """An image that is decoded whole, in sRGB: by its profile if there is one that is of use, else
    by code points."""
    if not is_srgb(colour) and not _to_srgb(pixels):
        return by_code_points(pixels, colour)
    source = Size(pixels.width, pixels.height)
    target = working_size(source)
    return Decoded(thumbnailed(pixels, target), source)


def thumbnailed(pixels: pyvips.Image, target: Size) -> pyvips.Image:
    """What is left to shrink of a source, turned upright and converted by its profile."""
    return converting(
        pixels,
        lambda profile: pixels.thumbnail_image(
            target.width, height=target.height, size="force", **profile
        ),
    )


def by_code_points(pixels: pyvips.Image, colour: Colour | None) -> Decoded:
    """Without a profile of use; without code points, as if it were sRGB."""
    source = Size(pixels.width, pixels.height)
    target = working_size(source)
    return Decoded(shrunk_to_srgb(pixels, target, colour or Colour()), source)


def shrink_of_jpeg(source: Size, target: Size) -> int:
    """By how much libjpeg can shrink while it decodes, so that what is left is no enlarging.

    libvips itself would leave a factor of two to its own, sharper filter. That takes half as much
    time again for an image of 12 MP, which nobody sees: both ways differ by 44 dB and more, and
    what JPEG takes away from a rendition afterwards is more.
    """
    ratio = min(source.width // target.width, source.height // target.height)
    return next(shrink for shrink in _SHRINKS_OF_JPEG if shrink <= ratio)


def converting(
    header: pyvips.Image, thumbnail: Callable[[dict[str, str]], pyvips.Image]
) -> pyvips.Image:
    """The thumbnail in sRGB, by the embedded profile where that can be used.

    Whether a profile can be used shows when the conversion is set up, before a pixel is read: if
    not, the image is shown as if it had none, as browsers do.
    """
    wanted = _to_srgb(header)
    try:
        return thumbnail(wanted)
    except pyvips.Error:
        if not wanted:
            raise
        return thumbnail({})


def _to_srgb(image: pyvips.Image) -> dict[str, str]:
    """Convert by the embedded profile, if there is one. Without, the pixels are sRGB already, or
    libvips knows the way (CMYK, grey); naming a target then would cost a detour by CIELAB, which
    takes longer than the decode itself."""
    if not image.get_typeof(ICC):
        return {}
    profile_class = bytes(image.get(ICC))[12:16]
    return {"export_profile": "srgb"} if profile_class in _COLOUR_CLASSES else {}
