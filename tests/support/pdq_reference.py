"""PDQ once more, step by step as its paper describes it, slow and without libvips."""

import math
from itertools import accumulate, chain, pairwise
from operator import mul

from PIL import Image

Rows = list[list[float]]
_SIDE, _SAMPLED = 64, 512


def reference_hash(image: Image.Image) -> tuple[int, int]:
    """Return the hash, as a number of 256 bits, and the quality."""
    luma = _averages(_luma(image))
    basis = [
        [math.sqrt(2 / _SIDE) * math.cos(math.pi / 128 * f * (2 * at + 1)) for at in range(_SIDE)]
        for f in range(1, 17)
    ]
    frequencies = list(chain.from_iterable(_product(_product(basis, luma), _turned(basis))))
    median = sorted(frequencies)[127]
    bits = sum(1 << at for at, frequency in enumerate(frequencies) if frequency > median)
    return bits, min(100, (_steps(luma) + _steps(_turned(luma))) // 90)


def _luma(image: Image.Image) -> Rows:
    width, height = image.size
    columns, rows = list(range(width)), list(range(height))
    if max(width, height) > _SAMPLED:
        columns = [at * width // _SAMPLED for at in range(_SAMPLED)]
        rows = [at * height // _SAMPLED for at in range(_SAMPLED)]
    pixels = image.convert("RGB").tobytes()
    starts = [[3 * (width * y + x) for x in columns] for y in rows]
    return [
        [0.299 * pixels[at] + 0.587 * pixels[at + 1] + 0.114 * pixels[at + 2] for at in line]
        for line in starts
    ]


def _averages(luma: Rows) -> Rows:
    for _ in range(2):
        luma = [_filter_box(row) for row in luma]
        luma = _turned([_filter_box(column) for column in _turned(luma)])
    rows, columns = _middles(len(luma)), _middles(len(luma[0]))
    return [[luma[y][x] for x in columns] for y in rows]


def _filter_box(values: list[float]) -> list[float]:
    """Average the window of each value, as far as it lies inside."""
    width = math.ceil(len(values) / 128)
    ahead = width // 2
    sums = [0.0, *accumulate(values)]
    averages = []
    for at in range(len(values)):
        first, end = max(0, at + ahead + 1 - width), min(len(values), at + ahead + 1)
        averages.append((sums[end] - sums[first]) / (end - first))
    return averages


def _middles(length: int) -> list[int]:
    return [int((at + 0.5) * length / _SIDE) for at in range(_SIDE)]


def _turned(rows: Rows) -> Rows:
    return [list(column) for column in zip(*rows, strict=True)]


def _product(left: Rows, right: Rows) -> Rows:
    columns = _turned(right)
    return [[sum(map(mul, row, column)) for column in columns] for row in left]


def _steps(luma: Rows) -> int:
    pairs = [pair for rows in pairwise(luma) for pair in zip(*rows, strict=True)]
    return sum(abs(int((upper - lower) * 100 / 255)) for upper, lower in pairs)
