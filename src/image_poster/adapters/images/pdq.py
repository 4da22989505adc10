"""The PDQ hash of an image: 256 bits that stay alike when the image is resized or encoded again.

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
from array import array
from collections.abc import Iterable
from functools import lru_cache
from operator import sub
from typing import NamedTuple

import pyvips

from image_poster.domain.hashes import HASH_DIGITS, MAX_QUALITY, ImageHash
from image_poster.domain.images import Size

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
