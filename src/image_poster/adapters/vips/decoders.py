"""Open an image: which decoder for which format, and the limits that are checked before
decoding."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pillow_heif
import pyvips
from PIL import Image as PillowImage

from image_poster.domain.images import (
    SNIFF_BYTES,
    ImageFormat,
    ImageRejectedError,
    ImageWorkFailedError,
    Size,
    sniff,
    working_size,
)

_ICC = "icc-profile-data"
# Orientations 5 to 8 lie on their side (EXIF 2.32, table 6).
_SIDEWAYS = 5
_SIGNS_OF_OURS = ("out of memory", "No space left", "unable to write")

# The limit is ours, and is checked on the header; Pillow's own would only warn.
PillowImage.MAX_IMAGE_PIXELS = None


class Loader(NamedTuple):
    """A loader of libvips: the type by whose name it is blocked, and its operation on a file."""

    type_name: str
    load: Callable[..., pyvips.Image]


class Decoded(NamedTuple):
    """The image upright and in sRGB, shrunk to `domain.images.working_size`; and its full
    size."""

    image: pyvips.Image
    source: Size


def decode(path: Path, max_pixels: int) -> Decoded:
    """Decode the first frame of the file once. Raises `ImageRejectedError`."""
    with path.open("rb") as file:
        found = sniff(file.read(SNIFF_BYTES))
    if found is None:
        raise ImageRejectedError("image_unreadable", "This is no image in a format that we read.")
    _allow_only(found)
    try:
        if found in _LOADERS:
            return _decode_with_vips(path, max_pixels, _LOADERS[found])
        return _DECODERS[found](path, max_pixels)
    except (pyvips.Error, OSError, ValueError, SyntaxError, EOFError, RuntimeError) as exc:
        raise rejected(exc) from exc  # these are the decoders' ways to say that bytes are wrong


def _allow_only(found: ImageFormat) -> None:
    """Block every loader of libvips but the one of the format that was sniffed.

    libvips would otherwise guess again from the content, and by its guess might take a loader that
    reads other files (SVG) or has never been tried here
    (https://www.libvips.org/API/current/func.operation_block_set.html).
    """
    pyvips.operation_block_set("VipsForeignLoad", True)
    if found in _LOADERS:
        pyvips.operation_block_set(_LOADERS[found].type_name, False)


def rejected(error: Exception) -> Exception:
    """What a decoder's error means: almost always the image, now and then this machine."""
    if any(sign in str(error) for sign in _SIGNS_OF_OURS):
        return ImageWorkFailedError(str(error))
    return ImageRejectedError(
        "image_unreadable", "This image is damaged or incomplete. Send it again, whole."
    )


def _check(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageRejectedError(
            "image_too_large",
            f"The image has {width} x {height} pixels; at most {max_pixels:,} are taken.",
        )


def _decode_with_vips(path: Path, max_pixels: int, loader: Loader) -> Decoded:
    header = loader.load(str(path), access="sequential")
    _check(header.width, header.height, max_pixels)
    source = Size(header.width, header.height)
    if _orientation(header) >= _SIDEWAYS:
        source = Size(header.height, header.width)
    target = working_size(source)
    shrunk = pyvips.Image.thumbnail(
        str(path),
        target.width,
        height=target.height,
        size="force",
        fail_on="error",
        **_to_srgb(header),
    )
    return Decoded(shrunk, source)


def _decode_bmp(path: Path, max_pixels: int) -> Decoded:
    with PillowImage.open(path, formats=("BMP",)) as opened:
        _check(opened.width, opened.height, max_pixels)
        pixels = _from_pillow(opened)
    return _shrink(pixels)


def _decode_heic(path: Path, max_pixels: int) -> Decoded:
    # pillow-heif turns the image upright by its own transforms, which win over EXIF in HEIF
    # (ISO/IEC 23008-12, section 6.5.10).
    with path.open("rb") as file:
        heif = pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
        width, height = heif.size
        _check(width, height, max_pixels)
        opened = heif.to_pillow()
        pixels = _from_pillow(opened)
    profile = heif.info.get("icc_profile")
    if profile:
        pixels.set_type(pyvips.GValue.blob_type, _ICC, profile)
    return _shrink(pixels)


def _from_pillow(opened: PillowImage.Image) -> pyvips.Image:
    mode = "RGBA" if "A" in opened.getbands() else "RGB"
    converted = opened if opened.mode == mode else opened.convert(mode)
    pixels = pyvips.Image.new_from_memory(
        converted.tobytes(), converted.width, converted.height, len(mode), "uchar"
    )
    return pixels.copy(interpretation="srgb")


def _shrink(pixels: pyvips.Image) -> Decoded:
    source = Size(pixels.width, pixels.height)
    target = working_size(source)
    shrunk = pixels.thumbnail_image(
        target.width, height=target.height, size="force", **_to_srgb(pixels)
    )
    return Decoded(shrunk, source)


def _orientation(image: pyvips.Image) -> int:
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def _to_srgb(image: pyvips.Image) -> dict[str, str]:
    """Convert by the embedded profile, if there is one. Without, the pixels are sRGB already, or
    libvips knows the way (CMYK, grey); naming a target then would cost a detour by CIELAB, which
    takes longer than the decode itself."""
    return {"export_profile": "srgb"} if image.get_typeof(_ICC) else {}


_DECODERS: dict[ImageFormat, Callable[[Path, int], Decoded]] = {
    ImageFormat.BMP: _decode_bmp,
    ImageFormat.HEIC: _decode_heic,
}

_LOADERS = {
    ImageFormat.JPEG: Loader("VipsForeignLoadJpeg", pyvips.Image.jpegload),
    ImageFormat.PNG: Loader("VipsForeignLoadPng", pyvips.Image.pngload),
    ImageFormat.WEBP: Loader("VipsForeignLoadWebp", pyvips.Image.webpload),
    ImageFormat.GIF: Loader("VipsForeignLoadNsgif", pyvips.Image.gifload),
    ImageFormat.AVIF: Loader("VipsForeignLoadHeif", pyvips.Image.heifload),
}
