"""Shrink an image of any decoder to its working size, upright and in sRGB."""

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
    """The image upright and in sRGB, shrunk to `domain.images.working_size`, and its full size.

    `held` is the bytes that libvips reads together with the image, if they are in memory.
    """

    image: pyvips.Image
    source: Size
    held: bytes | None = None


def to_working_size(pixels: pyvips.Image, colour: Colour | None = None) -> Decoded:
    """Shrink a decoded image, in sRGB: by its profile if that is usable, else by code points."""
    if not is_srgb(colour) and not _to_srgb(pixels):
        return by_code_points(pixels, colour)
    source = Size(pixels.width, pixels.height)
    target = working_size(source)
    return Decoded(thumbnailed(pixels, target), source)


def thumbnailed(pixels: pyvips.Image, target: Size) -> pyvips.Image:
    """Shrink to `target`, turn upright, and convert by the profile."""
    return converting(
        pixels,
        lambda profile: pixels.thumbnail_image(
            target.width, height=target.height, size="force", **profile
        ),
    )


def by_code_points(pixels: pyvips.Image, colour: Colour | None) -> Decoded:
    """Shrink and convert by code points, without a profile; without code points, assume sRGB."""
    source = Size(pixels.width, pixels.height)
    target = working_size(source)
    return Decoded(shrunk_to_srgb(pixels, target, colour or Colour()), source)


def shrink_of_jpeg(source: Size, target: Size) -> int:
    """Return the factor by which libjpeg can shrink while it decodes, so that no enlarging follows.

    libvips itself would leave a factor of two to its own, sharper filter. For an image of 12 MP,
    that takes half as much time again without a visible difference. Both ways differ by 44 dB and
    more; the JPEG coding of a rendition loses more.
    """
    ratio = min(source.width // target.width, source.height // target.height)
    return next(shrink for shrink in _SHRINKS_OF_JPEG if shrink <= ratio)


def converting(
    header: pyvips.Image, thumbnail: Callable[[dict[str, str]], pyvips.Image]
) -> pyvips.Image:
    """Return the thumbnail in sRGB, by the embedded profile if it is usable.

    libvips reports an unusable profile before it reads a pixel. Then the image is shown as if it
    had none, as in browsers.
    """
    wanted = _to_srgb(header)
    try:
        return thumbnail(wanted)
    except pyvips.Error:
        if not wanted:
            raise
        return thumbnail({})


def _to_srgb(image: pyvips.Image) -> dict[str, str]:
    """Return the options that convert by the embedded profile, if there is one.

    Without a profile, the pixels are sRGB already, or libvips converts them itself (CMYK, grey).
    Naming a target would add a conversion through CIELAB, which takes longer than the decode.
    """
    if not image.get_typeof(ICC):
        return {}
    profile_class = bytes(image.get(ICC))[12:16]
    return {"export_profile": "srgb"} if profile_class in _COLOUR_CLASSES else {}
