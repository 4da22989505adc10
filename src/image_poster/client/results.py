"""Results and errors of the client's calls, independent of the server's code. Fields that a later
service adds are ignored.

    ClientError
    ├── RefusedError      the service refused: the same request again will not help.
    ├── TooLateError      first sent so long ago that its outcome is unknown.
    ├── SettingError      a setting of the environment is unusable: a proxy, the state folder.
    └── GaveUpError       the service was unreachable, or failed, for too long.
        └── InUseError    another process is sending the same upload.
"""

from datetime import datetime
from typing import Literal

import msgspec

PostStatus = Literal["awaiting_upload", "processing", "ready", "failed"]


class RenditionResult(msgspec.Struct, frozen=True):
    """One JPEG of a post's image; `url` may be relative to the service, sides are in pixels."""

    url: str
    width: int
    height: int


class ImageResult(msgspec.Struct, frozen=True):
    """A post's image: the square one, the whole one, and a BlurHash to show while it loads."""

    url: str
    width: int
    height: int
    large: RenditionResult
    placeholder: str


class FailureResult(msgspec.Struct, frozen=True):
    """The reason why a post's image cannot be shown: `code` for programs, `detail` for people."""

    code: str
    detail: str


class CommentResult(msgspec.Struct, frozen=True):
    """A comment; times are RFC 3339. `creator_name` is its creator's display name; empty if the
    service does not send it."""

    id: str
    post_id: str
    creator: str
    content: str
    created_at: str
    edited_at: str | None
    creator_name: str = ""


class PostResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A post with its latest comments, newest first. `image` is there once it is `ready`, `failure`
    once it is `failed`. `etag` is the version of its texts, in answers with a single post."""

    id: str
    status: PostStatus
    caption: str
    alt: str
    creator: str
    created_at: str
    edited_at: str | None
    image: ImageResult | None
    creator_name: str = ""
    failure: FailureResult | None = None
    total_comments: int
    latest_comments: list[CommentResult]
    etag: str | None = None


class Feed(msgspec.Struct, frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[PostResult]
    next: str | None


class Comments(msgspec.Struct, frozen=True):
    """A page of comments, newest first; `next` is the cursor of the following one."""

    comments: list[CommentResult]
    next: str | None


class Progress(msgspec.Struct, frozen=True):
    """An upload's progress: bytes `sent` of `total` (None while a stream's end is unknown).
    `trouble` is the failure before the next try, in `retry_in` seconds."""

    sent: int
    total: int | None
    trouble: str = ""
    retry_in: float = 0.0


class ClientError(Exception):
    """Base class of the client's errors."""


class RefusedError(ClientError):
    """The service refused the request: `status` and `code` are the problem's, the text says what to
    do."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        super().__init__(f"{detail} ({code})")


class TooLateError(ClientError):
    """The upload was first sent at `since` (seconds since 1970), and the service may have forgotten
    it. A person must check if it was posted."""

    def __init__(self, name: str, since: float) -> None:
        self.since = since
        when = "at an unknown time (its record is damaged)"
        if since > 0:
            when = f"on {datetime.fromtimestamp(since).astimezone():%d %B}"
        super().__init__(
            f"{name} was first sent {when}, and may have been posted then: look at your "
            "posts. To post it again, pass --again"
        )


class SettingError(ClientError, ValueError):
    """A setting of the environment is unusable; nothing was sent."""


class GaveUpError(ClientError):
    """The client gave up: retries ran out of time, or could not help. An upload resumes when it is
    repeated; any other request may or may not have taken effect."""


class InUseError(GaveUpError):
    """Another process is uploading the same file."""
