"""Signed `PUT` URLs that this very service answers."""

from urllib.parse import urlencode

import msgspec

from image_poster.domain.errors import UploadUrlInvalidError
from image_poster.domain.ids import rfc3339
from image_poster.domain.signing import BadSignatureError, Signer
from image_poster.domain.uploads import PutTarget
from image_poster.ports.uploads import PutTerms

_PURPOSE = "put"


class PutGrant(msgspec.Struct, frozen=True, array_like=True):
    """What a signed URL allows."""

    post_id: str
    content_type: str
    expires_ms: int


class SignedPutUrls:
    """`PutUrls` by a signature in the query. Size and digest need none: they are kept with the
    upload."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def sign(self, post_id: str, terms: PutTerms, expires_ms: int) -> PutTarget:
        grant = self._signer.write(_PURPOSE, PutGrant(post_id, terms.content_type, expires_ms))
        return PutTarget(
            url=f"/uploads/{post_id}?{urlencode({'grant': grant})}",
            headers={"content-type": terms.content_type},
            expires_at=rfc3339(expires_ms),
        )

    def check(self, grant: str, post_id: str, now_ms: int) -> PutGrant:
        """What the URL with this `grant` allows. Raises `UploadUrlInvalidError` when it was
        changed, is for another upload, or has expired."""
        try:
            found = self._signer.read(_PURPOSE, grant, PutGrant)
        except BadSignatureError as exc:
            raise UploadUrlInvalidError from exc
        if found.post_id != post_id or found.expires_ms <= now_ms:
            raise UploadUrlInvalidError
        return found
