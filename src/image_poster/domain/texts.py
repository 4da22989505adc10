"""The rules for what people write: trimmed, counted in characters, no control characters."""

import re

from image_poster.domain.errors import invalid

# C0 but tab and newline, DEL, and C1: none has a meaning in a caption and some garble terminals.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(field: str, text: str, *, most: int) -> str:
    """`text` trimmed and with newlines as LF; raises `ValidationFailedError` naming `field`.

    Browsers send the newlines of a form as CRLF (WHATWG HTML, multipart form data), which is why
    CRLF is folded before the rule against control characters applies.
    """
    trimmed = text.replace("\r\n", "\n").strip()
    if len(trimmed) > most:
        raise invalid(field, f"at most {most} characters; these are {len(trimmed)}")
    if _CONTROL.search(trimmed):
        raise invalid(field, "no control characters but newline and tab")
    return trimmed


def clean_required(field: str, text: str, *, most: int) -> str:
    """As `clean`, and something must be left."""
    trimmed = clean(field, text, most=most)
    if not trimmed:
        raise invalid(field, "must not be empty")
    return trimmed
