"""The caller's identity, and the two checks of a change: the caller may make it, and it is based on
the current version.

A tag identifies the texts of one version of a post or comment. A new comment on a post is no edit,
nor is its image becoming ready.
"""

import hashlib

import msgspec

from image_poster.domain.errors import EditConflictError, NotYoursError

# The issuer and the audience of the service's own tokens: no URL, so no other issuer is called so.
OWN_ISSUER = "image-poster"
NOT_FOR_ACCESS = "The bearer token is not an access token. Send the access token of your sign-in."
_TAG_CHARACTERS = 16
# Browsers and proxies remove these from a path such as `/me/blocks/{user}`, even as `%2E%2E` (RFC
# 3986 section 5.2.4). So nobody could block such a user.
UNUSABLE_USERS = frozenset({".", ".."})

# The tags that the editor read; None if the editor does not say.
ExpectedTags = frozenset[str] | None


class Identity(msgspec.Struct, frozen=True):
    """A caller: their user id, True if they are an admin, and a display name (empty: as `user`)."""

    user: str
    admin: bool = False
    display_name: str = ""

    @property
    def name(self) -> str:
        """The display name."""
        return self.display_name or self.user

    def require(self, *owners: str) -> None:
        """Pass admins and the `owners`; raise `NotYoursError` for anyone else."""
        if not self.admin and self.user not in owners:
            raise NotYoursError


def edit_tag(*texts: str | None) -> str:
    """The tag of some texts; it differs between versions."""
    digest = hashlib.sha256()
    for text in texts:
        part = b"" if text is None else text.encode()
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.hexdigest()[:_TAG_CHARACTERS]


def check_unchanged(tag: str, expected: ExpectedTags) -> None:
    """Check that `tag` is among the `expected` tags. Raises `EditConflictError` (RFC 9110 section
    13.1.1)."""
    if expected is not None and tag not in expected:
        raise EditConflictError
