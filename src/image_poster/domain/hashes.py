"""Perceptual hashes of images, and the list of the hashes that are blocked.

A PDQ hash has 256 bits. Two images have about 128 different bits. An image and its copy have few,
also if the copy was resized or encoded again. The quality, 0 to 100, measures the detail of an
image; the hash of an image without detail is chance.

The thresholds are those that PDQ's authors recommend (README of `pdq` in ThreatExchange).
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

HASH_DIGITS = 64
MAX_DISTANCE = 31
MIN_QUALITY = 50
MAX_QUALITY = 100

_HASH = re.compile(rf"[0-9a-f]{{{HASH_DIGITS}}}", re.ASCII | re.IGNORECASE)
_COMMENT = "#"
_MAX_QUOTED = 80


class ImageHash(NamedTuple):
    """The PDQ hash of an image as 64 hexadecimal digits, and its quality, 0 to 100."""

    digits: str
    quality: int


class NearestHash(NamedTuple):
    """The place of a hash in a sequence, counted from 0, and its distance in bits."""

    place: int
    distance: int


class HashMatch(NamedTuple):
    """A line of a list that matches an image, counted from 1, and its distance in bits."""

    line: int
    distance: int


class HashListError(ValueError):
    """A line of a list of hashes that cannot be read, counted from 1."""

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        super().__init__(
            f"line {line} is no PDQ hash: {text[:_MAX_QUOTED]!r}. Write {HASH_DIGITS} hexadecimal "
            f"digits, or begin a comment with {_COMMENT}."
        )


def is_hash(text: str) -> bool:
    """Return True for 64 hexadecimal digits."""
    return _HASH.fullmatch(text) is not None


def hash_distance(first: str, second: str) -> int:
    """Return the number of bits in which two hashes differ. Raises `ValueError` for text that is
    not hexadecimal."""
    return (int(first, 16) ^ int(second, 16)).bit_count()


def find_nearest(image: ImageHash, blocked: Sequence[int]) -> NearestHash | None:
    """Return the nearest of the `blocked` hashes, the first of equally near ones, or None if none
    is similar. An image without a hash, or of low quality, is similar to none."""
    if not image.digits or image.quality < MIN_QUALITY or not blocked:
        return None
    bits = int(image.digits, 16)
    # Of 100,000 hashes this takes 10 ms, so there is no index.
    distances = list(map(int.bit_count, map(bits.__xor__, blocked)))
    distance = min(distances)
    return NearestHash(distances.index(distance), distance) if distance <= MAX_DISTANCE else None


class HashList:
    """A list of blocked hashes, each with the line of the file that it comes from."""

    def __init__(self, lines: Sequence[tuple[int, str]] = ()) -> None:
        """`lines` are pairs of a line's number and its hash."""
        self._lines = [line for line, _ in lines]
        self._hashes = [int(digits, 16) for _, digits in lines]

    @classmethod
    def parse(cls, text: str) -> "HashList":
        """Read a list: one hash a line, in any case. Blank lines, and text from `#` on, are
        ignored. Raises `HashListError`."""
        return cls(list(_parse_lines(text)))

    def __len__(self) -> int:
        return len(self._hashes)

    def match(self, digits: str, quality: int) -> HashMatch | None:
        """Return the nearest line at a distance of at most `MAX_DISTANCE`, the first of equally
        near ones, or None. A hash that is empty, or of low `quality`, matches no line."""
        nearest = find_nearest(ImageHash(digits, quality), self._hashes)
        return nearest and HashMatch(self._lines[nearest.place], nearest.distance)


def _parse_lines(text: str) -> Iterator[tuple[int, str]]:
    # str.splitlines would also break lines where no editor does.
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        digits = line.partition(_COMMENT)[0].strip()
        if digits and not is_hash(digits):
            raise HashListError(number, line.strip())
        if digits:
            yield number, digits
