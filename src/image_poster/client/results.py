"""What calls give, beside the service's own shapes (`PostWithComments`, `Comment`)."""

import msgspec

from image_poster.domain.comments import Comment
from image_poster.domain.posts import PostWithComments


class Feed(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[PostWithComments]
    next: str | None


class Comments(msgspec.Struct, frozen=True):
    """A page of comments, newest first; `next` is the cursor of the following one."""

    comments: list[Comment]
    next: str | None


class Progress(msgspec.Struct, frozen=True):
    """How far an upload is: bytes `sent` of `total` (None while a stream has no known end).

    `trouble` is what is being recovered from, and the next try is in `retry_in` seconds.
    """

    sent: int
    total: int | None
    trouble: str = ""
    retry_in: float = 0.0
