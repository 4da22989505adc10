r"""Lists of blocked images and of blocked words, and the search for a match.

**Images** are listed by their perceptual hashes. A PDQ hash has 256 bits. Two images have about 128
different bits. An image and its copy have few, also if the copy was resized or encoded again. The
thresholds are those that PDQ's authors recommend (README of `pdq` in ThreatExchange).

**Words and phrases**: lines and texts are folded alike, so that what looks the same compares the
same:

1. Characters that are invisible are removed: zero-width characters, direction marks, soft hyphens,
   variation selectors, tags, control characters, and marks that strike a letter through.
2. The rest is compared in NFKC, casefolded (Unicode 3.13, `NFKC_Casefold`).
3. Typographic apostrophes and hyphens become those of ASCII.
4. Runs of white space, and of blank characters that are no white space, become one space.

A word is a run of letters, digits and their marks. Each character of a script that is written
without spaces is a word of its own, as in UAX #29: ideographs, hiragana, Thai and its neighbours.
An underscore is no part of a word, so that `_word_` has the word in it.

The search takes time in proportion to the text, whatever the list and the text are. `_encode` marks
the end of each word by `\0`. So a line matches at a place in a text if the text goes on with the
line's encoded form. Of two lines of which one begins with the other, only the shorter is kept. So a
place has one candidate: its neighbour in the sorted lines.
"""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import NamedTuple

from image_poster.domain.errors import FieldError, TextBlockedError
from image_poster.domain.images import HASH_DIGITS, ImageHash, is_hash

MAX_DISTANCE = 31
MIN_QUALITY = 50
_COMMENT = "#"
_MAX_QUOTED = 80


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


MAX_LINE_CHARACTERS = 200
_WORD_COMMENT, _PREFIX = "#", "*"
_WORD_END = "\0"  # no folded text has control characters

# Default_Ignorable_Code_Point (DerivedCoreProperties.txt) without the fillers of Hangul; the marks
# of interlinear annotations; the marks that strike through (combining class 1) or enclose; and the
# tatweel, which only makes an Arabic word longer.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
    "\u0334-\u0338\u0488\u0489\u20d2\u20d3\u20d8-\u20da\u20dd-\u20e0\u20e2-\u20e6\u20ea\u20eb\u0640]"
)
# The fillers of Hangul and the empty pattern of Braille are shown as blanks; the separators of
# ASCII, which Python counts as white space, are not shown.
_BLANK = re.compile("[\t-\r \x85\xa0\u115f\u1160\u2800\u3164\uffa0]|[^\\S\0-\xff]")
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u2e80-\u2fdf\u3005\u3007"
    "\u3021-\u3029\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaadf\uf900-\ufaff"
    "\U0001b001-\U0001b11f\U00020000-\U0003ffff]"
)
# Keyboards differ in these: phones write the typographic ones.
_ALIKE = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bc", "'") | dict.fromkeys("\u2010\u2012\u2013\u2212", "-")
)
# Stream-Safe Text Format (UAX #15, section 13): longer runs of marks take more than linear time.
_MAX_MARKS = 30


class BlockedWordsError(ValueError):
    """A line of a list of words that cannot be used, counted from 1."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(f"line {line} {reason}")


class BlockedWords:
    """A list of blocked words and phrases."""

    def __init__(self, encoded: Iterable[str] = ()) -> None:
        """`encoded` are lines of `_encode`; `parse` reads a list."""
        self._lines = _without_redundant(sorted(encoded))
        self._max_length = max(map(len, self._lines), default=0)

    @classmethod
    def parse(cls, text: str) -> "BlockedWords":
        """Read a list: one word or phrase a line. `*` at its end makes it match longer words too.
        Blank lines, and lines that begin with `#`, are ignored. Raises `BlockedWordsError`."""
        return cls(_parse_word_lines(text))

    def __len__(self) -> int:
        return len(self._lines)

    def matches(self, text: str) -> bool:
        """Return True if the text has a blocked word or phrase. Between the words of a phrase there
        may be any white space."""
        if not self._lines:
            return False
        encoded = _encode(text)
        return any(self._match_at(encoded.text, start) for start in encoded.starts)

    def _match_at(self, text: str, start: int) -> bool:
        rest = text[start : start + self._max_length]
        index = bisect_right(self._lines, rest) - 1
        return index >= 0 and rest.startswith(self._lines[index])


def check_words(words: BlockedWords, field: str, text: str) -> None:
    """Raises `TextBlockedError` if the text of this field has a blocked word. The error does not
    name the word, so that nobody learns the list by trying."""
    if words.matches(text):
        raise TextBlockedError(FieldError(field, "contains a word that is not allowed here"))


def fold(text: str) -> str:
    """Return the form in which texts are compared, with its runs of white space."""
    composed = unicodedata.normalize("NFKC", _visible(text))
    return _visible(unicodedata.normalize("NFKC", composed.casefold())).translate(_ALIKE)


class _Kind(Enum):
    """A character's part in words."""

    INVISIBLE = auto()
    BLANK = auto()
    MARK = auto()  # belongs to the word before it
    JOINED = auto()  # makes a word with its neighbours
    ALONE = auto()  # is a word
    SYMBOL = auto()  # is no word, but can be listed
    PUNCTUATION = auto()


_WORD_KINDS = {_Kind.JOINED, _Kind.ALONE}


class _Encoded(NamedTuple):
    """A folded text with the ends of its words marked, and the places where a line may begin."""

    text: str
    starts: list[int]
    has_content: bool


@lru_cache(maxsize=8192)
def _kind(character: str) -> _Kind:
    if _BLANK.match(character):
        return _Kind.BLANK
    category = unicodedata.category(character)
    if _INVISIBLE.match(character) or category == "Cc":
        return _Kind.INVISIBLE
    if category[0] == "M":
        return _Kind.MARK
    if category[0] in "LN":
        return _Kind.ALONE if _UNSPACED.match(character) else _Kind.JOINED
    return _Kind.SYMBOL if category[0] == "S" else _Kind.PUNCTUATION


def _visible(text: str) -> str:
    """Return the text without its invisible characters, and without the marks after 30 marks."""
    characters, marks = [], 0
    for character in text:
        kind = _kind(character)
        marks = marks + 1 if kind is _Kind.MARK else 0
        if kind is not _Kind.INVISIBLE and marks <= _MAX_MARKS:
            characters.append(character)
    return "".join(characters)


def _encode(text: str) -> _Encoded:
    characters: list[str] = []
    starts: list[int] = []
    before = _Kind.BLANK
    has_content = False
    for character in fold(text):
        kind = _kind(character)
        if kind is _Kind.MARK:
            if before in _WORD_KINDS:  # one without a letter belongs to nothing
                characters.append(character)
            continue
        joins = kind is _Kind.JOINED and before is _Kind.JOINED
        if before in _WORD_KINDS and not joins:
            characters.append(_WORD_END)
        if kind is _Kind.BLANK:
            if before is not _Kind.BLANK:
                characters.append(" ")
        else:
            if not joins:
                starts.append(len(characters))
            characters.append(character)
            has_content = has_content or kind is not _Kind.PUNCTUATION
        before = kind
    if before in _WORD_KINDS:
        characters.append(_WORD_END)
    return _Encoded("".join(characters), starts, has_content)


def _parse_word_lines(text: str) -> Iterator[str]:
    # str.splitlines would also break lines where no editor does.
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.strip()
        if line and not line.startswith(_WORD_COMMENT):
            yield _encode_line(number, line)


def _encode_line(number: int, line: str) -> str:
    """Raises `BlockedWordsError`."""
    if len(line) > MAX_LINE_CHARACTERS:
        raise BlockedWordsError(
            number, f"is longer than {MAX_LINE_CHARACTERS} characters. Write a shorter phrase."
        )
    encoded = _encode(line.rstrip(_PREFIX).strip())
    if not encoded.has_content:
        raise BlockedWordsError(
            number, "has no letter, digit or symbol. Write a word, or remove the line."
        )
    text = encoded.text.rstrip()
    return text.removesuffix(_WORD_END) if line.endswith(_PREFIX) else text


def _without_redundant(lines: list[str]) -> list[str]:
    """Return the sorted lines without those that begin with another one."""
    shortest: list[str] = []
    for line in lines:
        if not shortest or not line.startswith(shortest[-1]):
            shortest.append(line)
    return shortest
