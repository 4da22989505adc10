"""Open an image by its descriptor: which decoder for which format, and the limits that are checked
before decoding."""

import os
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

import pillow_heif
import pyvips
from PIL import Image as PillowImage

from image_poster.adapters.vips.bmp import pixels_of, read_bmp, read_layout
from image_poster.adapters.vips.colour import Colour, is_srgb, shrunk_to_srgb
from image_poster.adapters.vips.header_facts import (
    BadHeaderError,
    Content,
    HeaderFacts,
    mapped,
    read_gif,
    read_jpeg,
    read_png,
    size_of,
)
from image_poster.adapters.vips.isobmff import read_isobmff
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
# Classes of profile that say what an image's numbers mean: of a device or a colour space. Links,
# abstract and named ones do not (ICC.1:2022, 7.2.5).
_COLOUR_CLASSES = {b"scnr", b"mntr", b"prtr", b"spac"}
_JPEG_END = b"\xff\xd9"
# The decoders' ways to say that bytes are wrong.
_BAD_BYTES = (
    pyvips.Error,
    BadHeaderError,
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    RuntimeError,
)
_SIGNS_OF_OURS = ("out of memory", "No space left", "unable to write")

# The limit is ours, and is checked on the header; Pillow's own would only warn.
PillowImage.MAX_IMAGE_PIXELS = None
PillowImage.preinit()  # a confined process loads no modules any more


class Loader(NamedTuple):
    """A loader of libvips: the type by whose name it is blocked, and its operation on a source."""

    type_name: str
    load: Callable[..., pyvips.Image]


class Decoded(NamedTuple):
    """The image upright and in sRGB, shrunk to `domain.images.working_size`; its full size; and
    the bytes that libvips will read when the image is, if they are in memory."""

    image: pyvips.Image
    source: Size
    held: bytes | None = None


def decode(descriptor: int, max_pixels: int) -> Decoded:
    """Decode the first frame of the file once. Raises `ImageRejectedError`."""
    found = sniff(os.pread(descriptor, SNIFF_BYTES, 0))
    if found is None:
        raise ImageRejectedError("image_unreadable", "This is no image in a format that we read.")
    _allow_only(found)
    facts = _facts(descriptor, found)
    try:
        if found in _LOADERS:
            return _decode_with_vips(descriptor, max_pixels, _LOADERS[found], facts)
        return _DECODERS[found](descriptor, max_pixels, facts)
    except _BAD_BYTES as exc:
        raise rejected(exc) from exc


def _facts(descriptor: int, found: ImageFormat) -> HeaderFacts:
    with mapped(descriptor) as content:
        return read_facts(found, content)


def read_facts(found: ImageFormat, content: Content) -> HeaderFacts:
    """What the header says; nothing, if it makes no sense. Raises `ImageRejectedError` for what no
    decoder here can show, however intact it is."""
    reader = _READERS.get(found)
    try:
        return reader(content) if reader else HeaderFacts()
    except BadHeaderError:
        return HeaderFacts()


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


def _decode_with_vips(
    descriptor: int, max_pixels: int, loader: Loader, facts: HeaderFacts
) -> Decoded:
    completed = _completed(descriptor) if facts.lacks_end else None
    fail_on = _fail_on(facts)
    header = loader.load(_source(descriptor, completed), access="sequential", fail_on=fail_on)
    _check(header.width, header.height, max_pixels)
    if loader is _LOADERS[ImageFormat.AVIF]:
        # `thumbnail_source` would not know the brand of an animation, and here saves nothing.
        return _turned(_shrink(header, facts.colour), facts.exif_orientation)
    if loader is _LOADERS[ImageFormat.PNG] and not is_srgb(facts.colour):
        return _by_code_points(header, facts.colour)
    if not _fills_canvas(header, facts):
        return _shrink(_on_white(header, facts))
    source = Size(header.width, header.height)
    if _orientation(header) >= _SIDEWAYS:
        source = Size(header.height, header.width)
    target = working_size(source)
    shrunk = _converting(
        header,
        lambda profile: pyvips.Image.thumbnail_source(
            _source(descriptor, completed),
            target.width,
            height=target.height,
            size="force",
            # `fail_on` itself is not heeded for a source.
            option_string=f"fail_on={fail_on}",
            **profile,
        ),
    )
    return Decoded(shrunk, source, completed)


def _completed(descriptor: int) -> bytes:
    return os.pread(descriptor, size_of(descriptor), 0) + _JPEG_END


def _source(descriptor: int, content: bytes | None) -> pyvips.Source:
    """`content`, or the file from its beginning: libvips goes on from where the descriptor is.
    Whoever reads the image must hold the content till then; pyvips does not."""
    if content is not None:
        return pyvips.Source.new_from_memory(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return pyvips.Source.new_from_descriptor(descriptor)


def _fail_on(facts: HeaderFacts) -> str:
    """From which of libvips' levels on an image fails.

    A JPEG that lacks its last marker is given one, and then libjpeg warns if the coded data end
    before the last block. So the line is there: with all blocks, every pixel is the image's own,
    and it is shown; with one less, part of it would be grey, and it fails. Whole files may have
    what is only worth a warning.
    """
    return "warning" if facts.lacks_end else "error"


def _fills_canvas(image: pyvips.Image, facts: HeaderFacts) -> bool:
    return facts.frame is None or facts.frame == (0, 0, image.width, image.height)


def _on_white(image: pyvips.Image, facts: HeaderFacts) -> pyvips.Image:
    """The first frame of a GIF, and white where it does not reach: viewers show the page there,
    libvips black if no colour is transparent."""
    assert facts.frame is not None  # noqa: S101 - for the type checker
    left, top = (min(facts.frame.left, image.width - 1), min(facts.frame.top, image.height - 1))
    width = max(1, min(facts.frame.width, image.width - left))
    height = max(1, min(facts.frame.height, image.height - top))
    drawn = image.crop(left, top, width, height)
    if drawn.hasalpha():
        drawn = drawn.flatten(background=[255])
    return drawn.embed(left, top, image.width, image.height, extend="background", background=[255])


def _file(descriptor: int) -> BinaryIO:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return open(descriptor, "rb", closefd=False)


def _decode_bmp(descriptor: int, max_pixels: int, _: HeaderFacts) -> Decoded:
    with mapped(descriptor) as content:
        layout = read_layout(content)
    if layout is not None:
        _check(layout.width, layout.height, max_pixels)
        return _shrink(pixels_of(descriptor, layout))
    with _file(descriptor) as file, PillowImage.open(file, formats=("BMP",)) as opened:
        _check(opened.width, opened.height, max_pixels)
        pixels = _from_pillow(opened)
    return _shrink(pixels)


def _decode_heic(descriptor: int, max_pixels: int, facts: HeaderFacts) -> Decoded:
    """With all its bits: what pillow-heif makes 8 of loses grey ones. It turns the image upright by
    the file's own transforms."""
    with _file(descriptor) as file:
        heif = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
        width, height = heif.size
        _check(width, height, max_pixels)
        kind, bands = _HEIF_MODES[heif.mode]
        # Rows are padded: an image of all that is there, cut to what is meant.
        across = heif.stride // (bands * (2 if kind == "ushort" else 1))
        padded = pyvips.Image.new_from_memory(heif.data, across, height, bands, kind)
    pixels = padded.crop(0, 0, width, height).copy(interpretation=_INTERPRETATIONS[kind, bands])
    profile = heif.info.get("icc_profile")
    if profile:
        pixels.set_type(pyvips.GValue.blob_type, _ICC, profile)
    return _turned(_shrink(pixels, facts.colour), facts.exif_orientation)


# By pillow-heif's name of a mode: the type of a sample in libvips, and how many a pixel has.
_HEIF_MODES = {
    "L": ("uchar", 1),
    "LA": ("uchar", 2),
    "RGB": ("uchar", 3),
    "RGBA": ("uchar", 4),
    "I;16": ("ushort", 1),
    "I;16L": ("ushort", 1),
    "LA;16": ("ushort", 2),
    "RGB;16": ("ushort", 3),
    "RGBA;16": ("ushort", 4),
}
_INTERPRETATIONS = {
    ("uchar", 1): "b-w",
    ("uchar", 2): "b-w",
    ("uchar", 3): "srgb",
    ("uchar", 4): "srgb",
    ("ushort", 1): "grey16",
    ("ushort", 2): "grey16",
    ("ushort", 3): "rgb16",
    ("ushort", 4): "rgb16",
}


def _turned(decoded: Decoded, orientation: int) -> Decoded:
    """Upright by an orientation of EXIF that the decoder did not heed."""
    if orientation == 1:
        return decoded
    kept = decoded.image.copy_memory()  # a turn reads in another order than it was decoded in
    kept.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    source = decoded.source
    if orientation >= _SIDEWAYS:
        source = Size(source.height, source.width)
    return Decoded(kept.autorot(), source)


def _from_pillow(opened: PillowImage.Image) -> pyvips.Image:
    mode = "RGBA" if "A" in opened.getbands() else "RGB"
    converted = opened if opened.mode == mode else opened.convert(mode)
    pixels = pyvips.Image.new_from_memory(
        converted.tobytes(), converted.width, converted.height, len(mode), "uchar"
    )
    return pixels.copy(interpretation="srgb")


def _shrink(pixels: pyvips.Image, colour: Colour | None = None) -> Decoded:
    """By the profile if there is one that is of use, else by code points."""
    if not is_srgb(colour) and not _to_srgb(pixels):
        return _by_code_points(pixels, colour)
    source = Size(pixels.width, pixels.height)
    target = working_size(source)
    shrunk = _converting(
        pixels,
        lambda profile: pixels.thumbnail_image(
            target.width, height=target.height, size="force", **profile
        ),
    )
    return Decoded(shrunk, source)


def _by_code_points(pixels: pyvips.Image, colour: Colour | None) -> Decoded:
    source = Size(pixels.width, pixels.height)
    target = working_size(source)
    return Decoded(shrunk_to_srgb(pixels, target, colour or Colour()), source)


def _orientation(image: pyvips.Image) -> int:
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def _converting(
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
    if not image.get_typeof(_ICC):
        return {}
    profile_class = bytes(image.get(_ICC))[12:16]
    return {"export_profile": "srgb"} if profile_class in _COLOUR_CLASSES else {}


_DECODERS: dict[ImageFormat, Callable[[int, int, HeaderFacts], Decoded]] = {
    ImageFormat.BMP: _decode_bmp,
    ImageFormat.HEIC: _decode_heic,
}

_READERS: dict[ImageFormat, Callable[[Content], HeaderFacts]] = {
    ImageFormat.JPEG: read_jpeg,
    ImageFormat.GIF: read_gif,
    ImageFormat.BMP: read_bmp,
    ImageFormat.PNG: read_png,
    ImageFormat.HEIC: read_isobmff,
    ImageFormat.AVIF: read_isobmff,
}

_LOADERS = {
    ImageFormat.JPEG: Loader("VipsForeignLoadJpeg", pyvips.Image.jpegload_source),
    ImageFormat.PNG: Loader("VipsForeignLoadPng", pyvips.Image.pngload_source),
    ImageFormat.WEBP: Loader("VipsForeignLoadWebp", pyvips.Image.webpload_source),
    ImageFormat.GIF: Loader("VipsForeignLoadNsgif", pyvips.Image.gifload_source),
    ImageFormat.AVIF: Loader("VipsForeignLoadHeif", pyvips.Image.heifload_source),
}
