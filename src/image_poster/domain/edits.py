"""Edits that meet: whoever edits may say what they saw, and is refused if it has been edited since.

A tag names the texts of a post or comment and nothing else: that somebody comments on a post, or
that its image becomes ready, is no edit.
"""

import hashlib

from image_poster.domain.errors import EditConflictError

_TAG_CHARACTERS = 16

# The tags that were seen; None if the editor does not say.
ExpectedTags = frozenset[str] | None


def edit_tag(*texts: str | None) -> str:
    """Tells one version of some texts from another."""
    digest = hashlib.sha256()
    for text in texts:
        part = b"" if text is None else text.encode()
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.hexdigest()[:_TAG_CHARACTERS]


def check_unchanged(tag: str, seen: ExpectedTags) -> None:
    """What has this `tag` must be among what was `seen`; raises `EditConflictError` (RFC 9110
    section 13.1.1)."""
    if seen is not None and tag not in seen:
        raise EditConflictError
