"""Edit conflicts: an editor may name the version that they read, and is refused if it has changed.

A tag identifies the texts of a post or comment only. A new comment on a post is no edit, nor is its
image becoming ready.
"""

import hashlib

from image_poster.domain.errors import EditConflictError

_TAG_CHARACTERS = 16

# The tags that were seen; None if the editor does not say.
ExpectedTags = frozenset[str] | None


def edit_tag(*texts: str | None) -> str:
    """The tag of some texts; it differs between versions."""
    digest = hashlib.sha256()
    for text in texts:
        part = b"" if text is None else text.encode()
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.hexdigest()[:_TAG_CHARACTERS]


def check_unchanged(tag: str, seen: ExpectedTags) -> None:
    """Check that `tag` is among the tags in `seen`. Raises `EditConflictError` (RFC 9110 section
    13.1.1)."""
    if seen is not None and tag not in seen:
        raise EditConflictError
