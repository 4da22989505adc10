"""What calls give and raise: the client's own shapes, which know nothing of the server's code.
Fields that a later service adds are passed over.

    ClientError
    ├── RefusedError      the service said no: asking again the same way will not help
    ├── TooLateError      first sent so long ago that nobody knows any more whether it was done
    ├── SettingError       a setting of the environment cannot work: a proxy, the state folder
    └── GaveUpError       the service could not be reached, or was not able to, for too long
        └── InUseError    the same upload is going on in another process
"""

from datetime import datetime
from typing import Literal

import msgspec

PostStatus = Literal["awaiting_upload", "processing", "ready", "failed"]


class Rendition(msgspec.Struct, frozen=True):
    """One JPEG of a post's image; `url` may be relative to the service, sides are in pixels."""

    url: str
    width: int
    height: int


class Image(msgspec.Struct, frozen=True):
    """A post's image: the square one, the whole one, and a BlurHash to show meanwhile."""

    url: str
    width: int
    height: int
    large: Rendition
    placeholder: str


class Failure(msgspec.Struct, frozen=True):
    """Why a post's image cannot be shown: `code` for programs, `detail` for people."""

    code: str
    detail: str


class Comment(msgspec.Struct, frozen=True):
    """A comment; times are RFC 3339. `creator_name` is what people call its creator; empty from
    a service that does not say."""

    id: str
    post_id: str
    creator: str
    content: str
    created_at: str
    edited_at: str | None
    creator_name: str = ""


class Post(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A post with its latest comments, newest first. `image` is there once it is `ready`, `failure`
    once it is `failed`. `etag` names this version of its texts, where one post was asked for."""

    id: str
    status: PostStatus
    caption: str
    alt: str
    creator: str
    created_at: str
    edited_at: str | None
    image: Image | None
    creator_name: str = ""
    failure: Failure | None = None
    total_comments: int
    latest_comments: list[Comment]
    etag: str | None = None


class Feed(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[Post]
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


class ClientError(Exception):
    """Base of all."""


class RefusedError(ClientError):
    """The service said no: `status` and `code` are the problem's, the text says what to do."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(f"{detail} ({code})")


class TooLateError(ClientError):
    """First sent, `since` 1970, so many seconds ago that the service may have forgotten it: whether
    it was posted then is for a person to see."""

    def __init__(self, name: str, since: float) -> None:
        self.since = since
        when = "at an unknown time (its record is damaged)"
        if since > 0:
            when = f"on {datetime.fromtimestamp(since).astimezone():%d %B}"
        super().__init__(
            f"{name} was first sent {when}, and may have been posted then: look at your "
            "posts. Ask for it again (--again) to post it anew"
        )


class SettingError(ClientError, ValueError):
    """A setting of the environment cannot work; nothing was sent."""


class GaveUpError(ClientError):
    """Tried for as long as patience lasted. An upload goes on where it was when it is asked for
    again; anything else may or may not have happened."""


class InUseError(GaveUpError):
    """Another process is uploading this very file."""
