"""Open an image by its descriptor: choose the decoder of its format, and read its header first."""

import os
import struct
from collections.abc import Callable
from typing import NamedTuple

import pyvips
from PIL import Image as PillowImage

from image_poster.adapters.images.bmp import decode_bmp, read_bmp
from image_poster.adapters.images.colour import (
    DecodedImage,
    convert_by_code_points,
    convert_by_profile,
    is_srgb,
    make_thumbnail,
    to_working_size,
    upright_size,
)
from image_poster.adapters.images.header import (
    Admission,
    BadHeaderError,
    Content,
    DecodeEstimate,
    HeaderFacts,
    file_size,
    map_file,
    unsupported,
)
from image_poster.adapters.images.heif import decode_avif, decode_heic, read_heif
from image_poster.adapters.images.heif_rebuild import rebuild_heif
from image_poster.adapters.images.jpeg import read_jpeg, rebuild_jpeg
from image_poster.adapters.images.png_gif_webp import (
    read_gif,
    read_png,
    read_webp,
    rebuild_gif,
    rebuild_png,
    rebuild_webp,
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

_JPEG_END = b"\xff\xd9"
_RESERVED = bytes(64)
_JPEG_SHRINKS = (8, 4, 2, 1)
# Memory for each pixel of a WebP or GIF, which are decoded whole. An animation needs a canvas too.
_WHOLE_PIXEL_BYTES, _ANIMATED_PIXEL_BYTES = 6, 10
# The decoders' ways to say that bytes are wrong.
_DECODER_ERRORS = (
    *(pyvips.Error, BadHeaderError, OSError, ValueError, SyntaxError, EOFError, RuntimeError),
)
# Parts of error texts about valid files of a kind that no decoder here reads.
_UNSUPPORTED_SIGNS = ("nsupported",)
_MACHINE_FAULTS = ("out of memory", "No space left", "unable to write")

# The limit is ours, and is checked on the header; Pillow's own would only warn.
PillowImage.MAX_IMAGE_PIXELS = None
PillowImage.preinit()  # a confined process loads no modules any more


class _Format(NamedTuple):
    """The code of a format. `read` reads its header; `rebuild` rebuilds a file from the parts that
    contain its pixels. Either libvips decodes it by `loader`, of the libvips type `type_name`, or
    `decode` does."""

    read: Callable[[Content], HeaderFacts]
    rebuild: Callable[[Content], bytes]
    type_name: str = ""
    loader: Callable[..., pyvips.Image] | None = None
    decode: Callable[[int, Admission, HeaderFacts], DecodedImage] | None = None


def decode(descriptor: int, admission: Admission, *, rebuilding: bool = False) -> DecodedImage:
    """Decode the first frame of the file once, after its admission; with `rebuilding`, decode a
    file rebuilt from it. Raises `ImageRejectedError`."""
    image_format = sniff(os.pread(descriptor, SNIFF_BYTES, 0))
    if image_format is None:
        raise ImageRejectedError(
            "image_unreadable",
            "The service cannot read this file as an image. GET /limits lists the formats.",
        )
    facts = _facts(descriptor, image_format, admission, rebuilding=rebuilding)
    if facts.coding is not None:  # the codec in the boxes decides, not the brand
        image_format = _FORMATS_BY_CODEC[facts.coding.codec]
    _allow_only(_FORMATS[image_format].type_name)
    try:
        if (decoder := _FORMATS[image_format].decode) is not None:
            return decoder(descriptor, admission, facts)
        return _decode_with_vips(descriptor, admission, image_format, facts)
    except _DECODER_ERRORS as exc:
        raise translate_error(exc, rebuilding=rebuilding) from exc


def _facts(
    descriptor: int, image_format: ImageFormat, admission: Admission, *, rebuilding: bool
) -> HeaderFacts:
    with map_file(descriptor) as content:
        facts = read_facts(image_format, content)
        if facts.size is not None:
            admission.check(*facts.size)
        if not rebuilding:
            return facts
        try:
            rebuilt = rebuild(image_format, content)
        except BadHeaderError as exc:
            raise translate_error(exc) from exc
    new_facts = read_facts(image_format, rebuilt)
    return new_facts._replace(
        stand_in=new_facts.stand_in or rebuilt,
        is_rebuilt=True,
        exif_orientation=facts.exif_orientation,
    )


def read_facts(image_format: ImageFormat, content: Content) -> HeaderFacts:
    """Read the header; return no facts if it is invalid. Raises `ImageRejectedError` for an image
    that no decoder here supports, even if it is intact."""
    try:
        return _FORMATS[image_format].read(content)
    except BadHeaderError:
        return HeaderFacts()


def rebuild(image_format: ImageFormat, content: Content) -> bytes:
    """Rebuild a file that its decoder refuses from the parts that contain its pixels. Such a file
    may be whole but for metadata, a length or a checksum; the rebuilt file corrects these.

    No pixel is invented. Raises `BadHeaderError` if pixels are cut off.
    """
    try:
        return _FORMATS[image_format].rebuild(content)
    except struct.error as exc:
        raise BadHeaderError("a number that does not fit its field") from exc


def _allow_only(type_name: str) -> None:
    """Block every loader of libvips but the one of the sniffed format.

    Otherwise libvips would guess the format again. It might choose a loader that reads other files
    (SVG) or was never tested here
    (https://www.libvips.org/API/current/func.operation_block_set.html).
    """
    pyvips.operation_block_set("VipsForeignLoad", True)
    if type_name:
        pyvips.operation_block_set(type_name, False)


def translate_error(error: Exception, *, rebuilding: bool = False) -> Exception:
    """Translate a decoder's error: the image is at fault almost always, this machine rarely. "Not
    supported" may refer to metadata, unless the file was rebuilt without them."""
    if any(sign in str(error) for sign in _MACHINE_FAULTS):
        return ImageWorkFailedError(str(error))
    if rebuilding and any(sign in str(error) for sign in _UNSUPPORTED_SIGNS):
        return unsupported("an image of an unusual kind")
    return ImageRejectedError(
        "image_unreadable", "The image is damaged or incomplete. Send it again, from a whole copy."
    )


def _decode_with_vips(
    descriptor: int, admission: Admission, image_format: ImageFormat, facts: HeaderFacts
) -> DecodedImage:
    load = _FORMATS[image_format].loader
    assert load is not None  # noqa: S101 - for the type checker
    buffer = _complete_jpeg(descriptor, facts) if facts.lacks_end else facts.stand_in
    options = _load_options(image_format, facts)
    header = load(_source(descriptor, buffer), **options)
    admission.check(header.width, header.height)
    if image_format is ImageFormat.AVIF:
        return decode_avif(header, descriptor, admission, facts)
    admission.admit(image_format, _estimate(image_format, header, facts, file_size(descriptor)))
    if image_format is ImageFormat.PNG and not is_srgb(facts.colour):
        return convert_by_code_points(header, facts.colour)
    if facts.frame not in (None, (0, 0, header.width, header.height)):
        return to_working_size(_place_on_white(header, facts))
    orientation = int(header.get("orientation")) if header.get_typeof("orientation") else 1
    source = upright_size(Size(header.width, header.height), orientation)
    target = working_size(source)
    if image_format is ImageFormat.JPEG:
        shrink = _jpeg_shrink(source, target)
        image = load(_source(descriptor, buffer), **options, shrink=shrink)
        return DecodedImage(make_thumbnail(image, target), source, buffer)
    shrunk = convert_by_profile(
        header,
        lambda profile: pyvips.Image.thumbnail_source(
            _source(descriptor, buffer),
            target.width,
            height=target.height,
            size="force",
            # `fail_on` itself is not heeded for a source.
            option_string=f"fail_on={options['fail_on']}",
            **profile,
        ),
    )
    return DecodedImage(shrunk, source, buffer)


def _complete_jpeg(descriptor: int, facts: HeaderFacts) -> bytes:
    """Return a JPEG with its last marker (EOI). Many zeros at its end are reserved space that a
    transfer did not fill; they are removed, since a decoder would take them for pixels."""
    content = facts.stand_in or os.pread(descriptor, file_size(descriptor), 0)
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


def _load_options(image_format: ImageFormat, facts: HeaderFacts) -> dict[str, object]:
    """Return the loader's options, with the level of libvips (`fail_on`) from which an image fails.

    A JPEG without its last marker gets one; then libjpeg warns if the coded data end before the
    last block. With all blocks, every pixel is the image's own, and the image is shown. With one
    less, part of it would be grey, so the image fails. A whole file may cause warnings and still be
    shown. A rebuilt JPEG has no checksum: a warning shows that its tables are not the original
    ones.
    """
    is_rebuilt_jpeg = facts.is_rebuilt and image_format is ImageFormat.JPEG
    is_strict = facts.lacks_end or is_rebuilt_jpeg
    options: dict[str, object] = {
        "access": "sequential",
        "fail_on": "warning" if is_strict else "error",
    }
    if image_format is ImageFormat.AVIF and facts.is_rebuilt:
        options["unlimited"] = True  # as in `decode_heic`
    return options


def _estimate(
    image_format: ImageFormat, header: pyvips.Image, facts: HeaderFacts, file_bytes: int
) -> DecodeEstimate:
    """Estimate the cost of an image for libvips, which decodes it row by row if its format allows
    that."""
    row_bytes = header.bands * (2 if header.format == "ushort" else 1)
    estimate = facts.estimate(header.width, header.height, row_bytes)
    is_interlaced = bool(header.get_typeof("interlaced"))
    file_bytes += facts.stand_in_bytes
    if image_format is ImageFormat.JPEG:
        samples = facts.samples or (header.bands if is_interlaced else 0)
        return estimate._replace(
            pixel_bytes=2 * samples,
            fixed_bytes=2 * file_bytes if facts.lacks_end else 0,
            visited=header.width * header.height * facts.scans,
        )
    if image_format is ImageFormat.PNG:
        return estimate._replace(pixel_bytes=row_bytes if is_interlaced else 0)
    pixel_bytes = _ANIMATED_PIXEL_BYTES if header.get_n_pages() > 1 else _WHOLE_PIXEL_BYTES
    return estimate._replace(pixel_bytes=pixel_bytes, fixed_bytes=file_bytes)


def _jpeg_shrink(source: Size, target: Size) -> int:
    """Return the factor by which libjpeg can shrink while it decodes, so that no enlarging follows.

    libvips itself would leave a factor of two to its own, sharper filter. For an image of 12 MP,
    that takes half as much time again without a visible difference. The two results agree with a
    PSNR of 44 dB or more; the JPEG coding of a rendition loses more.
    """
    ratio = min(source.width // target.width, source.height // target.height)
    return next(shrink for shrink in _JPEG_SHRINKS if shrink <= ratio)


def _place_on_white(image: pyvips.Image, facts: HeaderFacts) -> pyvips.Image:
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


_FORMATS_BY_CODEC = {"hvc1": ImageFormat.HEIC, "av01": ImageFormat.AVIF}
_FORMATS = {
    ImageFormat.JPEG: _Format(
        read_jpeg, rebuild_jpeg, "VipsForeignLoadJpeg", pyvips.Image.jpegload_source
    ),
    ImageFormat.PNG: _Format(
        read_png, rebuild_png, "VipsForeignLoadPng", pyvips.Image.pngload_source
    ),
    ImageFormat.WEBP: _Format(
        read_webp, rebuild_webp, "VipsForeignLoadWebp", pyvips.Image.webpload_source
    ),
    ImageFormat.GIF: _Format(
        read_gif, rebuild_gif, "VipsForeignLoadNsgif", pyvips.Image.gifload_source
    ),
    ImageFormat.AVIF: _Format(
        read_heif, rebuild_heif, "VipsForeignLoadHeif", pyvips.Image.heifload_source
    ),
    ImageFormat.HEIC: _Format(read_heif, rebuild_heif, decode=decode_heic),
    # A rebuilt BMP is a copy, which `read_bmp` then repairs.
    ImageFormat.BMP: _Format(read_bmp, lambda content: content[: len(content)], decode=decode_bmp),
}
