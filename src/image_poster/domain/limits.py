"""What is taken: sizes in bytes, images in pixels, texts in characters. GET /limits shows it."""

import re
import unicodedata

import msgspec

from image_poster.domain.errors import invalid

MEBIBYTE = 1024 * 1024

FEED_PAGE_DEFAULT = 10
FEED_PAGE_MAX = 100
LATEST_DEFAULT = 2
LATEST_KEPT = 10
WAIT_MAX_SECONDS = 20
UPLOAD_KEPT_MS = 24 * 3600 * 1000
UPLOAD_PIECE_BYTES = 512 * 1024

# C0 but tab and newline, DEL, and C1: none has a meaning in a caption and some garble terminals.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


# Categories (Unicode Standard, section 4.5) of what shows nothing by itself: control, format (of
# which zero-width and bidirectional ones), separators, and marks that need a letter.
_BLANK_CATEGORIES = {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"}
# Letters and symbols that are drawn as nothing: Hangul fillers and the Braille blank.
_BLANK_CHARACTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")


class Limits(msgspec.Struct, frozen=True):
    """The settings of one running service; the defaults are the contract's. `image_memory` is
    what all decoders have together, so that one image has no more. `multipart_bytes` and
    `piece_bytes` are what one request may carry, where that is less than an image may have."""

    image_bytes: int = 100_000_000
    image_pixels: int = 100_000_000
    image_memory: int = 2_000_000_000
    caption_characters: int = 5_000
    alt_characters: int = 1_500
    comment_characters: int = 2_000
    latest_kept: int = LATEST_KEPT
    multipart_bytes: int | None = None
    piece_bytes: int | None = None


def clean(field: str, text: str, *, longest: int) -> str:
    """`text` trimmed and with newlines as LF; raises `ValidationFailedError` naming `field` for
    more than `longest` characters, and for control characters.

    Browsers send the newlines of a form as CRLF (WHATWG HTML, multipart form data), which is why
    CRLF is folded before the rule against control characters applies.
    """
    trimmed = text.replace("\r\n", "\n").strip()
    if len(trimmed) > longest:
        raise invalid(field, f"at most {longest} characters; these are {len(trimmed)}")
    if _CONTROL.search(trimmed):
        raise invalid(field, "no control characters but newline and tab")
    return trimmed


def clean_required(field: str, text: str, *, longest: int) -> str:
    """As `clean`, and something must be left that can be seen."""
    trimmed = clean(field, text, longest=longest)
    if all(map(_is_blank, trimmed)):
        raise invalid(field, "must not be empty")
    return trimmed


def _is_blank(character: str) -> bool:
    return character in _BLANK_CHARACTERS or unicodedata.category(character) in _BLANK_CATEGORIES
