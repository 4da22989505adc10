"""Both renditions, the placeholder and the hash of one image, from one decode."""

from concurrent.futures import ThreadPoolExecutor

import blurhash
import pyvips

from image_poster.adapters.images.decoders import decode, translate_error
from image_poster.adapters.images.header import Admission
from image_poster.adapters.images.pdq import hash_pixels
from image_poster.adapters.images.protocol import (
    AcquireMemory,
    Descriptors,
    Message,
    RenderSettings,
)
from image_poster.domain.images import SMALL_SIDE, ImageFit, RenderedImage, Size, large_size

_WHITE = [255, 255, 255]
# Enough for the three half waves of a placeholder; its arithmetic is pure Python.
_PLACEHOLDER_SIDE = 16
# The `600`, which comes first, shows itself while it comes (progressive). To code the `1600` like
# that would take as long as the decode of a small image, and save 4 % of its bytes.
_SMALL_JPEG = {"Q": 82, "interlace": True, "optimize_coding": True, "keep": "none"}
_LARGE_JPEG = {**_SMALL_JPEG, "interlace": False}

# The descriptions of libvips' operations are read once, in the fork server, not for each image.
for _operation in (
    *("jpegload_source", "thumbnail_image", "crop", "resize", "cast", "copy", "jpegsave_target"),
):
    pyvips.Introspect.get(_operation)


def work(
    descriptors: Descriptors, settings: RenderSettings, acquire_memory: AcquireMemory
) -> Message:
    """Render the image of a child. Raises `ImageRejectedError`, `ImageWorkFailedError`."""
    pyvips.cache_set_max(0)  # each image comes once
    return Message(rendered=render(descriptors, settings, acquire_memory))


def render(
    descriptors: Descriptors, settings: RenderSettings, acquire_memory: AcquireMemory
) -> RenderedImage:
    """Write both renditions of `descriptors.original`. Before its pixels are decoded, call
    `acquire_memory` with the most bytes that this needs. Raises `ImageRejectedError`,
    `ImageWorkFailedError`."""
    admission = Admission(settings.max_pixels, settings.memory_bytes, acquire_memory)
    decoded = decode(descriptors.original, admission, rebuilding=settings.rebuild)
    try:
        # Here the pixels are read, once; all that follows works on this small image.
        working, pixels = _read_pixels(_to_opaque_srgb(decoded.image))
    except pyvips.Error as exc:
        raise translate_error(exc, rebuilding=settings.rebuild) from exc
    small = _make_small(working, settings.fit)
    large = _resize(working, large_size(decoded.source))
    if large is not working:  # the sides of a long image differ
        large, pixels = _read_pixels(large)
    with ThreadPoolExecutor(1) as thread:  # where a core is idle, that is ready sooner
        writing = thread.submit(_write, large, descriptors.large, _LARGE_JPEG)
        _write(small, descriptors.small, _SMALL_JPEG)
        placeholder = _make_placeholder(small)
        image_hash = hash_pixels(pixels, Size(large.width, large.height))
        writing.result()
    return RenderedImage(
        Size(small.width, small.height),
        Size(large.width, large.height),
        placeholder,
        image_hash.digits,
        image_hash.quality,
    )


def _read_pixels(image: pyvips.Image) -> tuple[pyvips.Image, memoryview]:
    """Return the image in memory, and that memory. Raises `pyvips.Error`."""
    try:
        pixels = image.write_to_memory()
    except pyvips.Error as exc:
        # Its own message, "unable to write to memory", would read as a fault of this machine.
        raise pyvips.Error("the pixels cannot be read", exc.detail) from exc
    in_memory = pyvips.Image.new_from_memory(
        pixels, image.width, image.height, image.bands, image.format
    )
    return in_memory.copy(interpretation=image.interpretation), memoryview(pixels)


def _write(image: pyvips.Image, descriptor: int, options: dict[str, object]) -> None:
    image.jpegsave_target(pyvips.Target.new_to_descriptor(descriptor), **options)


def _to_opaque_srgb(image: pyvips.Image) -> pyvips.Image:
    if image.hasalpha():
        image = image.flatten(background=_WHITE)
    return image.colourspace("srgb").cast("uchar")


def _make_small(working: pyvips.Image, fit: ImageFit) -> pyvips.Image:
    if fit == "cover":
        # The middle square first, so that no extreme ratio is enlarged outside of it.
        side = min(working.width, working.height)
        left, top = (working.width - side) // 2, (working.height - side) // 2
        return _resize(working.crop(left, top, side, side), Size(SMALL_SIDE, SMALL_SIDE))
    scale = min(1.0, SMALL_SIDE / max(working.width, working.height))
    contained = _resize(working, Size(working.width, working.height).scaled(scale))
    if fit == "contain":
        return contained
    return contained.gravity(
        "centre", SMALL_SIDE, SMALL_SIDE, background=_WHITE, extend="background"
    )


def _resize(image: pyvips.Image, size: Size) -> pyvips.Image:
    if (image.width, image.height) == (size.width, size.height):
        return image
    resized = image.resize(size.width / image.width, vscale=size.height / image.height)
    # A result of resize() is read twice (saved, and made into the placeholder or the hash).
    return resized.copy_memory()


def _make_placeholder(small: pyvips.Image) -> str:
    """Return a BlurHash (https://github.com/woltapp/blurhash) of 4 by 4 components."""
    tiny = small.thumbnail_image(_PLACEHOLDER_SIDE, height=_PLACEHOLDER_SIDE, size="down")
    flat = bytes(tiny.write_to_memory())
    pixels = [tuple(flat[at : at + 3]) for at in range(0, len(flat), 3)]
    rows = [pixels[at : at + tiny.width] for at in range(0, len(pixels), tiny.width)]
    return str(blurhash.encode(rows, 4, 4))
