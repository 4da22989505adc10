"""Texts of users: cleaned before they are stored, and escaped for a terminal, which obeys control
characters (ECMA-48)."""

import re
import unicodedata

from image_poster.domain.errors import invalid

# Each kind of line break that a word processor or an old system writes (Unicode Standard Annex 14).
_LINE_BREAK = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
# C0 but tab and newline, DEL, and C1: none has a meaning in a caption and some garble terminals.
_DROPPED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")


# Categories (Unicode Standard, section 4.5) of invisible characters: control, format (such as
# zero-width and bidirectional ones), separators, and marks that need a letter.
_BLANK_CATEGORIES = {"Cc", "Cf", "Zs", "Zl", "Zp", "Mn", "Me"}
# Letters and symbols that are drawn as nothing: Hangul fillers and the Braille blank.
_BLANK_CHARACTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
# C0, DEL, C1, and the line and paragraph separators, which would begin another line of a log.
_TERMINAL_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def clean(field: str, text: str, *, longest: int) -> str:
    """Trim `text`, turn each line break into LF, and drop other control characters but tab.

    Raises `ValidationFailedError` naming `field` for more than `longest` characters after that, and
    as `check_characters` does.
    """
    check_characters(field, text)
    trimmed = _DROPPED.sub("", _LINE_BREAK.sub("\n", text)).strip()
    if len(trimmed) > longest:
        raise invalid(field, f"must have at most {longest} characters, not {len(trimmed)}")
    return trimmed


def check_characters(field: str, text: str) -> None:
    """Refuse NUL and half of a surrogate pair (no character by itself: Unicode Standard, section
    3.8). Raises `ValidationFailedError` naming `field` and the character."""
    match = _UNUSABLE.search(text)
    if match is None:
        return
    name = "NUL" if match[0] == "\0" else "half of a surrogate pair"
    raise invalid(
        field, f"contains U+{ord(match[0]):04X}, {name}; remove it and send the text again"
    )


def clean_required(field: str, text: str, *, longest: int) -> str:
    """Clean as `clean` does; also refuse a text without visible characters."""
    trimmed = clean(field, text, longest=longest)
    if all(map(_is_blank, trimmed)):
        raise invalid(field, "must not be empty")
    return trimmed


def _is_blank(character: str) -> bool:
    return character in _BLANK_CHARACTERS or unicodedata.category(character) in _BLANK_CATEGORIES


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""`text` with control characters as Python writes them, such as \x1b, but those to `keep`."""
    return _TERMINAL_CONTROL.sub(
        lambda match: match[0] if match[0] in keep else _escape(match[0]), text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
