"""Open an image by its descriptor: choose the decoder of its format, and read its header first."""

import os
from collections.abc import Callable
from typing import NamedTuple

import pyvips
from PIL import Image as PillowImage

from image_poster.adapters.images.bmp import pixels_of, read_bmp, read_layout
from image_poster.adapters.images.colour import is_srgb
from image_poster.adapters.images.cost import Admission, DecodeEstimate, vips_shape
from image_poster.adapters.images.header_facts import (
    BadHeaderError,
    Content,
    HeaderFacts,
    file_of,
    mapped,
    read_gif,
    read_jpeg,
    read_png,
    read_webp,
    size_of,
    unsupported,
)
from image_poster.adapters.images.heif import (
    avif_shape,
    is_for_libavif,
    open_by_libavif,
    open_heic,
)
from image_poster.adapters.images.isobmff import read_isobmff
from image_poster.adapters.images.rebuild import rebuild
from image_poster.adapters.images.shrinking import (
    Decoded,
    by_code_points,
    converting,
    shrink_of_jpeg,
    thumbnailed,
    to_working_size,
)
from image_poster.domain.images import (
    SNIFF_BYTES,
    ImageFormat,
    ImageRejectedError,
    ImageWorkFailedError,
    Size,
    sniff,
    working_size,
)

# Orientations 5 to 8 lie on their side (EXIF 2.32, table 6).
_SIDEWAYS = 5
_JPEG_END = b"\xff\xd9"
_RESERVED = bytes(64)
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
# Of files that contradict nothing, but no decoder here reads.
_SIGNS_OF_A_KIND = ("nsupported",)
_SIGNS_OF_OURS = ("out of memory", "No space left", "unable to write")

# The limit is ours, and is checked on the header; Pillow's own would only warn.
PillowImage.MAX_IMAGE_PIXELS = None
PillowImage.preinit()  # a confined process loads no modules any more


class Loader(NamedTuple):
    """A loader of libvips: the type name that blocks it, and its operation on a source."""

    type_name: str
    load: Callable[..., pyvips.Image]


def decode(descriptor: int, admission: Admission, *, rebuilding: bool = False) -> Decoded:
    """Decode the first frame of the file once, after its admission; with `rebuilding`, decode a
    file rebuilt from it. Raises `ImageRejectedError`."""
    image_format = sniff(os.pread(descriptor, SNIFF_BYTES, 0))
    if image_format is None:
        raise ImageRejectedError("image_unreadable", "This is no image in a format that we read.")
    facts = _facts(descriptor, image_format, admission, rebuilding=rebuilding)
    if facts.coding is not None:  # what is in the boxes decides, whatever the brand
        image_format = _CODED[facts.coding.codec]
    _allow_only(image_format)
    try:
        if image_format in _LOADERS:
            return _decode_with_vips(descriptor, admission, _LOADERS[image_format], facts)
        return _DECODERS[image_format](descriptor, admission, facts)
    except _BAD_BYTES as exc:
        raise rejected(exc, rebuilding=rebuilding) from exc


def _facts(
    descriptor: int, image_format: ImageFormat, admission: Admission, *, rebuilding: bool
) -> HeaderFacts:
    with mapped(descriptor) as content:
        facts = read_facts(image_format, content)
        if facts.size is not None:
            admission.check(*facts.size)
        if not rebuilding:
            return facts
        try:
            rebuilt = rebuild(image_format, content)
        except BadHeaderError as exc:
            raise rejected(exc) from exc
    new_facts = read_facts(image_format, rebuilt)
    return new_facts._replace(
        stand_in=new_facts.stand_in or rebuilt,
        is_rebuilt=True,
        exif_orientation=facts.exif_orientation,
    )


def read_facts(image_format: ImageFormat, content: Content) -> HeaderFacts:
    """Read the header; return no facts if it is invalid. Raises `ImageRejectedError` for an image
    that no decoder here supports, even if it is intact."""
    reader = _READERS.get(image_format)
    try:
        return reader(content) if reader else HeaderFacts()
    except BadHeaderError:
        return HeaderFacts()


def _allow_only(image_format: ImageFormat) -> None:
    """Block every loader of libvips but the one of the sniffed format.

    Otherwise libvips would guess the format again. It might choose a loader that reads other files
    (SVG) or was never tested here
    (https://www.libvips.org/API/current/func.operation_block_set.html).
    """
    pyvips.operation_block_set("VipsForeignLoad", True)
    if image_format in _LOADERS:
        pyvips.operation_block_set(_LOADERS[image_format].type_name, False)


def rejected(error: Exception, *, rebuilding: bool = False) -> Exception:
    """Translate a decoder's error: the image is at fault almost always, this machine rarely. "Not
    supported" may refer to metadata, unless the file was rebuilt without them."""
    if any(sign in str(error) for sign in _SIGNS_OF_OURS):
        return ImageWorkFailedError(str(error))
    if rebuilding and any(sign in str(error) for sign in _SIGNS_OF_A_KIND):
        return unsupported("an image of an unusual kind")
    return ImageRejectedError(
        "image_unreadable", "This image is damaged or incomplete. Send it again from a whole copy."
    )


def _decode_with_vips(
    descriptor: int, admission: Admission, loader: Loader, facts: HeaderFacts
) -> Decoded:
    completed = _completed(descriptor, facts) if facts.lacks_end else facts.stand_in
    options = _load_options(loader, facts)
    header = loader.load(_source(descriptor, completed), **options)
    admission.check(header.width, header.height)
    if loader is _AVIF_LOADER:
        return _decode_avif(header, descriptor, admission, facts)
    image_format = next(name for name, one in _LOADERS.items() if one is loader)
    admission.admit(
        image_format,
        vips_shape(image_format, header, facts, size_of(descriptor) + len(facts.stand_in or b"")),
    )
    if loader is _LOADERS[ImageFormat.PNG] and not is_srgb(facts.colour):
        return by_code_points(header, facts.colour)
    if not _fills_canvas(header, facts):
        return to_working_size(_on_white(header, facts))
    source = Size(header.width, header.height)
    if _orientation(header) >= _SIDEWAYS:
        source = Size(header.height, header.width)
    target = working_size(source)
    if loader is _LOADERS[ImageFormat.JPEG]:
        image = loader.load(
            _source(descriptor, completed), **options, shrink=shrink_of_jpeg(source, target)
        )
        return Decoded(thumbnailed(image, target), source, completed)
    shrunk = converting(
        header,
        lambda profile: pyvips.Image.thumbnail_source(
            _source(descriptor, completed),
            target.width,
            height=target.height,
            size="force",
            # `fail_on` itself is not heeded for a source.
            option_string=f"fail_on={options['fail_on']}",
            **profile,
        ),
    )
    return Decoded(shrunk, source, completed)


def _completed(descriptor: int, facts: HeaderFacts) -> bytes:
    """Return a JPEG with its last marker (EOI). Many zeros at its end are reserved space that a
    transfer did not fill; they are removed, since a decoder would take them for pixels."""
    content = facts.stand_in or os.pread(descriptor, size_of(descriptor), 0)
    if content.endswith(_RESERVED):
        content = content.rstrip(b"\0")
        content += b"\0" if content.endswith(b"\xff") else b""  # a byte 0xFF, and no marker
    return content + _JPEG_END


def _source(descriptor: int, content: bytes | None) -> pyvips.Source:
    """Return a source of `content`, or of the file from its beginning, since libvips reads from the
    descriptor's position. The caller must keep the content until the image is read; pyvips does
    not."""
    if content is not None:
        return pyvips.Source.new_from_memory(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return pyvips.Source.new_from_descriptor(descriptor)


def _load_options(loader: Loader, facts: HeaderFacts) -> dict[str, object]:
    options: dict[str, object] = {"access": "sequential", "fail_on": _fail_on(facts, loader)}
    if loader is _AVIF_LOADER and facts.is_rebuilt:
        options["unlimited"] = True  # as in `open_heic`
    return options


def _fail_on(facts: HeaderFacts, loader: Loader) -> str:
    """Return the level of libvips (`fail_on`) from which an image fails.

    A JPEG without its last marker gets one; then libjpeg warns if the coded data end before the
    last block. With all blocks, every pixel is the image's own, and the image is shown. With one
    less, part of it would be grey, so the image fails. A whole file may cause warnings and still be
    shown. A rebuilt JPEG has no checksum: a warning shows that its tables are not the original
    ones.
    """
    is_rebuilt_jpeg = facts.is_rebuilt and loader is _LOADERS[ImageFormat.JPEG]
    return "warning" if facts.lacks_end or is_rebuilt_jpeg else "error"


def _fills_canvas(image: pyvips.Image, facts: HeaderFacts) -> bool:
    return facts.frame is None or facts.frame == (0, 0, image.width, image.height)


def _on_white(image: pyvips.Image, facts: HeaderFacts) -> pyvips.Image:
    """Return the first frame of a GIF, on white where it does not cover the canvas. Viewers show
    the page there; libvips shows black if no colour is transparent."""
    assert facts.frame is not None  # noqa: S101 - for the type checker
    left, top = (min(facts.frame.left, image.width - 1), min(facts.frame.top, image.height - 1))
    width = max(1, min(facts.frame.width, image.width - left))
    height = max(1, min(facts.frame.height, image.height - top))
    drawn = image.crop(left, top, width, height)
    if drawn.hasalpha():
        drawn = drawn.flatten(background=[255])
    return drawn.embed(left, top, image.width, image.height, extend="background", background=[255])


def _decode_bmp(descriptor: int, admission: Admission, facts: HeaderFacts) -> Decoded:
    content = facts.stand_in or mapped(descriptor)
    copied_bytes = len(facts.stand_in or b"")
    layout = read_layout(content)
    if layout is not None:
        shape = DecodeEstimate(layout.width, layout.height, row_bytes=12, held_bytes=copied_bytes)
        admission.admit(ImageFormat.BMP, shape)
        return to_working_size(pixels_of(content, layout))
    with (
        file_of(descriptor, facts.stand_in) as file,
        PillowImage.open(file, formats=("BMP",)) as opened,
    ):
        width, height = opened.size
        # Pillow has palettes, pixels of four bytes and a copy of three, at once.
        shape = DecodeEstimate(
            *(width, height, 3), pixel_bytes=11, held_bytes=2 * copied_bytes, visited=facts.steps
        )
        admission.admit(ImageFormat.BMP, shape)
        pixels = _from_pillow(opened)
    return to_working_size(pixels)


def _decode_heic(descriptor: int, admission: Admission, facts: HeaderFacts) -> Decoded:
    if facts.lacks_tile:
        raise BadHeaderError("a tile has no data")  # the decoder would leave it green
    pixels = open_heic(descriptor, facts, admission)
    return _turned(to_working_size(pixels, facts.colour), facts.exif_orientation)


def _decode_avif(
    header: pyvips.Image, descriptor: int, admission: Admission, facts: HeaderFacts
) -> Decoded:
    if is_for_libavif(header.width, header.height, facts):
        opened = open_by_libavif(descriptor, facts, admission)
        if opened is not None:
            return _turned(to_working_size(opened[0], facts.colour), opened[1])
    shape = avif_shape(header.width, header.height, header.bands, facts)
    admission.admit(ImageFormat.AVIF, shape)
    # `thumbnail_source` would not know the brand of an animation, and here saves nothing.
    turned = _turned(to_working_size(header, facts.colour), facts.exif_orientation)
    return turned._replace(held=facts.stand_in)


def _turned(decoded: Decoded, orientation: int) -> Decoded:
    """Turn the image upright by an EXIF orientation that the decoder ignored."""
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


def _orientation(image: pyvips.Image) -> int:
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


_DECODERS: dict[ImageFormat, Callable[[int, Admission, HeaderFacts], Decoded]] = {
    ImageFormat.BMP: _decode_bmp,
    ImageFormat.HEIC: _decode_heic,
}

_CODED = {"hvc1": ImageFormat.HEIC, "av01": ImageFormat.AVIF}

_READERS: dict[ImageFormat, Callable[[Content], HeaderFacts]] = {
    ImageFormat.JPEG: read_jpeg,
    ImageFormat.GIF: read_gif,
    ImageFormat.BMP: read_bmp,
    ImageFormat.PNG: read_png,
    ImageFormat.WEBP: read_webp,
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
_AVIF_LOADER = _LOADERS[ImageFormat.AVIF]
