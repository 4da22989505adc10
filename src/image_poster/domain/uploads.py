"""How the bytes of a reserved post may come in, as the API shows it."""

import msgspec

from image_poster.domain.posts import PostWithComments


class PutTarget(msgspec.Struct, frozen=True):
    """A signed URL that takes the whole picture in one `PUT` until `expires_at` (RFC 3339), with
    exactly these headers. It may be relative to the service, or lead elsewhere."""

    url: str
    headers: dict[str, str]
    expires_at: str


class UploadTargets(msgspec.Struct, frozen=True):
    """Resumable at the URL `tus`, or in one go."""

    tus: str
    put: PutTarget


class ReservedPost(PostWithComments, frozen=True, kw_only=True):
    """A post in `awaiting_upload`, as its reservation is answered."""

    upload: UploadTargets
