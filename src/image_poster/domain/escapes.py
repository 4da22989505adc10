"""Escapes untrusted text for a terminal, which obeys control characters (ECMA-48)."""

import re

# C0, DEL, C1, and the line and paragraph separators, which would begin another line of a log.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""`text` with control characters as Python writes them, such as \x1b, but those to `keep`."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
