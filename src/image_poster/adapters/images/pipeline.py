"""Both renditions, the placeholder and the PDQ hash of one image, from one decode.

The hash has 256 bits that stay alike when the image is resized or encoded again.

Source: "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", ThreatExchange,
hashing.pdf. The sizes of windows and images are those of its reference implementation in C++.

1. An image with a side over 512 pixels becomes 512 by 512: the nearest pixel counts.
2. Two box filters (Jarosz) in each direction average the luma; 64 by 64 of their values remain.
3. The quality is the sum of the steps between neighbours among these, 100 at most.
4. Of the discrete cosine transform, the 16 by 16 lowest frequencies without the constant count.
5. A bit is 1 if its frequency is stronger than the median.

libvips has the loops over pixels. Two box filters of width w sum w² lines, some of them several
times. So `vips_sum` adds images of 64 lines each: rows first, then columns of the turned image.
"""

import math
import time
from array import array
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from operator import sub
from typing import NamedTuple

import blurhash
import pyvips

from image_poster.adapters.images.decoders import decode, translate_error
from image_poster.adapters.images.header import Admission
from image_poster.adapters.images.protocol import (
    AcquireMemory,
    Descriptors,
    Message,
    RenderSettings,
)
from image_poster.domain.images import (
    HASH_DIGITS,
    MAX_QUALITY,
    SMALL_SIDE,
    ImageFit,
    ImageHash,
    RenderedImage,
    Size,
    large_size,
)

_SAMPLED_SIDE = 512
_BUFFER_SIDE, _FREQUENCIES = 64, 16
# Smaller images have too little detail; the reference implementation hashes none of them either.
_MIN_SIDE = 5
_NO_HASH = ImageHash("0" * HASH_DIGITS, 0)

_BANDS = 3
# ITU-R BT.601. A step between neighbours counts in hundredths of the range of luma.
_LUMA = [weight * 100 / 255 for weight in (0.299, 0.587, 0.114)]
_STEPS_OF_QUALITY_1 = 90

_COSINES = pyvips.Image.new_from_array(
    [
        [
            math.cos(math.pi / (2 * _BUFFER_SIDE) * (frequency + 1) * (2 * at + 1))
            for at in range(_BUFFER_SIDE)
        ]
        for frequency in range(_FREQUENCIES)
    ]
)

# The descriptions of libvips' operations are read once, in the fork server, not for each image.
for _operation in ("sum", "rot", "recomb"):
    pyvips.Introspect.get(_operation)


def hash_pixels(pixels: memoryview, size: Size) -> ImageHash:
    """Return the hash of an upright image of three bands, 8 bits each, in sRGB."""
    if min(size.width, size.height) < _MIN_SIDE:
        return _NO_HASH
    luma = _downsample(pixels, size)
    return ImageHash(_threshold(_transform(luma)), _measure_quality(array("f", luma)))


class _Windows(NamedTuple):
    """The lines to sum for the 64 averages along a side.

    `lines` has 64 lines for each offset in a window; `repeats` is the weight of each offset.
    """

    lines: list[list[int]]
    repeats: list[int]


@lru_cache(maxsize=8)
def _windows(side: int, sampled: int) -> _Windows:
    """Return the windows along `side` lines, of which `sampled` count."""
    width = math.ceil(sampled / (2 * _BUFFER_SIDE))
    # An even window reaches further ahead than back; so do both filters.
    first = -2 * (width - (width + 2) // 2)
    repeats = [width - abs(offset - width + 1) for offset in range(2 * width - 1)]
    middles = [(2 * at + 1) * sampled // (2 * _BUFFER_SIDE) for at in range(_BUFFER_SIDE)]
    lines = [
        [min(max(middle + first + offset, 0), sampled - 1) * side // sampled for middle in middles]
        for offset in range(len(repeats))
    ]
    return _Windows(lines, repeats)


def _downsample(pixels: memoryview, size: Size) -> bytes:
    """Return 64 by 64 averages of luma as floats, column after column."""
    is_sampled = max(size.width, size.height) > _SAMPLED_SIDE
    rows = _windows(size.height, _SAMPLED_SIDE if is_sampled else size.height)
    columns = _windows(size.width, _SAMPLED_SIDE if is_sampled else size.width)
    # Turned by 90 degrees, the lowest row is the first column. So it is summed first.
    upward = _Windows([lines[::-1] for lines in rows.lines], rows.repeats)
    turned = _sum_lines(pixels, size, "uchar", upward).rot("d90").write_to_memory()
    both = _sum_lines(memoryview(turned), Size(_BUFFER_SIDE, size.width), "uint", columns)
    pixels_summed = sum(rows.repeats) * sum(columns.repeats)
    luma = pyvips.Image.new_from_array([[weight / pixels_summed for weight in _LUMA]])
    return bytes(both.recomb(luma).write_to_memory())


def _sum_lines(
    pixels: memoryview, size: Size, number_format: str, windows: _Windows
) -> pyvips.Image:
    """Return an image of 64 lines, each the sum of the lines of its window."""
    line_bytes = len(pixels) // size.height
    images: list[pyvips.Image] = []
    for lines, repeats in zip(windows.lines, windows.repeats, strict=True):
        picked = b"".join([pixels[at * line_bytes : (at + 1) * line_bytes] for at in lines])
        image = pyvips.Image.new_from_memory(
            picked, size.width, _BUFFER_SIDE, _BANDS, number_format
        )
        images += [image] * repeats
    return pyvips.Image.sum(images)


def _transform(luma: bytes) -> "array[float]":
    """Return 16 by 16 frequencies, row after row, from the averages, column after column."""
    # To weight the bands of pixels is to multiply matrices: each column of luma is a pixel.
    vertical = array("f", _multiply(luma, _BUFFER_SIDE))
    rows = b"".join(vertical[row::_FREQUENCIES].tobytes() for row in range(_FREQUENCIES))
    return array("f", _multiply(rows, _FREQUENCIES))


def _multiply(vectors: bytes, count: int) -> bytes:
    image = pyvips.Image.new_from_memory(vectors, count, 1, _BUFFER_SIDE, "float")
    return bytes(image.recomb(_COSINES).write_to_memory())


def _threshold(frequencies: "array[float]") -> str:
    """Return the hash in hexadecimal; its last bit is that of the lowest frequency."""
    median = sorted(frequencies)[len(frequencies) // 2 - 1]
    bits = "".join("01"[frequency > median] for frequency in reversed(frequencies))
    return f"{int(bits, 2):0{HASH_DIGITS}x}"


def _measure_quality(luma: "array[float]") -> int:
    side = _BUFFER_SIDE
    steps = _sum_steps(luma[side:], luma)
    if steps < MAX_QUALITY * _STEPS_OF_QUALITY_1:  # few photographs are so smooth
        steps += _sum_steps(luma[1:], luma) - _sum_steps(luma[side::side], luma[side - 1 :: side])
    return min(MAX_QUALITY, steps // _STEPS_OF_QUALITY_1)


def _sum_steps(values: Iterable[float], neighbours: Iterable[float]) -> int:
    return sum(map(abs, map(int, map(sub, values, neighbours))))


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
    source = _decode_whole(descriptors, settings, acquire_memory)
    began = time.perf_counter()
    rendered = _encode(descriptors, settings, source)
    return Message(rendered=rendered, encode_seconds=time.perf_counter() - began)


def render(
    descriptors: Descriptors, settings: RenderSettings, acquire_memory: AcquireMemory
) -> RenderedImage:
    """Write both renditions of `descriptors.original`. Before its pixels are decoded, call
    `acquire_memory` with the most bytes that this needs. Raises `ImageRejectedError`,
    `ImageWorkFailedError`."""
    return _encode(descriptors, settings, _decode_whole(descriptors, settings, acquire_memory))


class _Source(NamedTuple):
    """An upright image in memory, its pixels, and the size of the whole original."""

    image: pyvips.Image
    pixels: memoryview
    size: Size


def _decode_whole(
    descriptors: Descriptors, settings: RenderSettings, acquire_memory: AcquireMemory
) -> _Source:
    admission = Admission(settings.max_pixels, settings.memory_bytes, acquire_memory)
    decoded = decode(descriptors.original, admission, rebuilding=settings.rebuild)
    try:
        # Here the pixels are read, once; all that follows works on this small image.
        working, pixels = _read_pixels(_to_opaque_srgb(decoded.image))
    except pyvips.Error as exc:
        raise translate_error(exc, rebuilding=settings.rebuild) from exc
    return _Source(working, pixels, decoded.source)


def _encode(descriptors: Descriptors, settings: RenderSettings, source: _Source) -> RenderedImage:
    working, pixels, size = source
    small = _make_small(working, settings.fit)
    large = _resize(working, large_size(size))
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
