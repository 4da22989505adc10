"""Signed URLs that take a picture."""

from typing import NamedTuple, Protocol

from image_poster.domain.uploads import PutWay


class PutTerms(NamedTuple):
    """What may be put: its media type, its size in bytes, and its SHA-256 or nothing."""

    content_type: str
    size: int
    sha256: bytes


class PutUrls(Protocol):
    """Makes URLs that only their signature protects."""

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutWay:
        """A URL for the post's picture, good until `expires_ms` (since 1970) or earlier."""
        ...
