"""Both renditions and the placeholder of one image, from one decode."""

from pathlib import Path

import blurhash
import msgspec
import pyvips

from image_poster.adapters.vips.decoders import decode, rejected
from image_poster.domain.images import (
    RENDITION_LARGE,
    RENDITION_SMALL,
    SMALL_SIDE,
    ImageFit,
    RenderedImage,
    Size,
    large_size,
)

_WHITE = [255, 255, 255]
_PLACEHOLDER_SIDE = 24
_JPEG = {"Q": 82, "interlace": True, "optimize_coding": True, "keep": "none"}


class RenderSettings(msgspec.Struct, frozen=True):
    """How images are made; `max_pixels` counts width times height of the source."""

    fit: ImageFit = "cover"
    max_pixels: int = 100_000_000


def render(original: Path, folder: Path, settings: RenderSettings) -> RenderedImage:
    """Write both renditions of `original` into `folder`. Raises `ImageRejectedError`."""
    with original.open("rb") as file:
        decoded = decode(file.fileno(), settings.max_pixels)
        try:
            # Here the pixels are read, once; all that follows works on this small image.
            working = _opaque_srgb(decoded.image).copy_memory()
        except pyvips.Error as exc:
            raise rejected(exc) from exc
    small = _small(working, settings.fit)
    large = _resized(working, large_size(decoded.source))
    small.jpegsave(str(folder / f"{RENDITION_SMALL}.jpg"), **_JPEG)
    large.jpegsave(str(folder / f"{RENDITION_LARGE}.jpg"), **_JPEG)
    return RenderedImage(
        small=Size(small.width, small.height),
        large=Size(large.width, large.height),
        placeholder=_placeholder(small),
    )


def _opaque_srgb(image: pyvips.Image) -> pyvips.Image:
    if image.hasalpha():
        image = image.flatten(background=_WHITE)
    return image.colourspace("srgb").cast("uchar")


def _small(working: pyvips.Image, fit: ImageFit) -> pyvips.Image:
    if fit == "cover":
        return _covering(working)
    contained = _resized(working, _contained(Size(working.width, working.height)))
    if fit == "contain":
        return contained
    return contained.gravity(
        "centre", SMALL_SIDE, SMALL_SIDE, background=_WHITE, extend="background"
    )


def _covering(working: pyvips.Image) -> pyvips.Image:
    """Cut the middle square first, so that an extreme image is never enlarged outside of it."""
    side = min(working.width, working.height)
    left, top = (working.width - side) // 2, (working.height - side) // 2
    return _resized(working.crop(left, top, side, side), Size(SMALL_SIDE, SMALL_SIDE))


def _contained(source: Size) -> Size:
    return source.scaled(min(1.0, SMALL_SIDE / max(source.width, source.height)))


def _resized(image: pyvips.Image, size: Size) -> pyvips.Image:
    if (image.width, image.height) == (size.width, size.height):
        return image
    resized = image.resize(size.width / image.width, vscale=size.height / image.height)
    # A result of resize() is read twice (saved, and made into the placeholder).
    return resized.copy_memory()


def _placeholder(small: pyvips.Image) -> str:
    """A BlurHash (https://github.com/woltapp/blurhash) of 4 by 4 components."""
    tiny = small.thumbnail_image(_PLACEHOLDER_SIDE, height=_PLACEHOLDER_SIDE, size="down")
    return str(blurhash.encode(_rows(tiny), 4, 4))


def _rows(image: pyvips.Image) -> list[list[tuple[int, ...]]]:
    flat = bytes(image.write_to_memory())
    pixels = [tuple(flat[at : at + 3]) for at in range(0, len(flat), 3)]
    return [pixels[at : at + image.width] for at in range(0, len(pixels), image.width)]
