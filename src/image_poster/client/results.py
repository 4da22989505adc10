"""Results and errors of the client's calls, independent of the server's code. Fields that a later
service adds are ignored.

    ClientError
    ├── RefusedError      the service refused: the same request again will not help.
    │   └── UserBannedError   the user is banned, until a time or for good.
    ├── TooLateError      first sent so long ago that its outcome is unknown.
    ├── SettingError      a setting of the environment is unusable: a proxy, the state folder.
    └── GaveUpError       the service was unreachable, or failed, for too long.
        └── InUseError    another process is sending the same upload.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

PostStatus = Literal["awaiting_upload", "processing", "in_review", "ready", "hidden", "failed"]
Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


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


class AppealResult(msgspec.Struct, frozen=True):
    """An appeal against a decision. `outcome` is `dismissed`, or None while it is open or was
    granted by another decision."""

    text: str
    created_at: str
    outcome: str | None = None


class ModerationResult(msgspec.Struct, frozen=True):
    """The decision by which a post is not public, for those who may see it; `id` is the
    decision's, as `appeal` needs it."""

    id: str
    action: str
    reason: str | None
    text: str | None
    created_at: str
    appeal: AppealResult | None = None


class PostResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A post with its latest comments, newest first. `image` is there once it is `ready`, and also
    while it is `in_review` or `hidden`; `failure` once it is `failed`. `etag` is the version of its
    texts, in answers with a single post."""

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
    moderation: ModerationResult | None = None
    total_comments: int
    latest_comments: list[CommentResult]
    etag: str | None = None


class ReportResult(msgspec.Struct, frozen=True):
    """A report by the caller. `status` is `open` or `closed`; `outcome` is None while it is open,
    else `hidden`, `deleted` or `dismissed`."""

    id: str
    post_id: str
    comment_id: str | None
    reason: str
    text: str | None
    created_at: str
    status: str
    outcome: str | None


class BlockResult(msgspec.Struct, frozen=True):
    """A block of `user` by the caller."""

    user: str
    created_at: str


class DecisionResult(msgspec.Struct, frozen=True, kw_only=True):
    """A decision about a post, a comment or a user, by the admin `by` or by `service`. `until` is
    the end of a ban, None for good. `appeal` is only there in decisions about the caller."""

    id: str
    by: str
    action: str
    post_id: str | None
    comment_id: str | None
    user: str | None
    reason: str | None
    text: str | None
    until: str | None
    created_at: str
    appeal: AppealResult | None = None


class LatestReport(msgspec.Struct, frozen=True):
    """A report in an entry of the moderation queue; `reporter` is None once the reporter's account
    is deleted."""

    reporter: str | None
    reason: str
    text: str | None
    created_at: str


class MatchResult(msgspec.Struct, frozen=True):
    """The source of the blocked hash that an image matched: a `line` of the list, or a
    `decision`."""

    line: int | None
    decision: str | None


class OpenAppealResult(msgspec.Struct, frozen=True):
    """An appeal in an entry of the moderation queue, and the `decision` that it is against."""

    text: str
    created_at: str
    decision: DecisionResult | None = None


class QueueEntryResult(msgspec.Struct, frozen=True, kw_only=True):
    """An open entry of the moderation queue, of `kind` `report`, `review`, `appeal` or `match`. Its
    subject is a comment (`post_id` and `comment_id`), a post or a `user`. `post` and `comment` are
    None if they are gone. `latest` has the newest five of its `reports`, `reasons` their number by
    reason."""

    kind: str
    post_id: str | None = None
    comment_id: str | None = None
    post: PostResult | None
    comment: CommentResult | None
    user: str | None
    reports: int
    reasons: dict[str, int]
    latest: list[LatestReport]
    appeal: OpenAppealResult | None
    match: MatchResult | None
    since: str

    @property
    def subject(self) -> str:
        """The subject, as `decide` needs it."""
        if self.user is not None:
            return f"user:{self.user}"
        return f"{self.post_id}/{self.comment_id}" if self.comment_id else f"{self.post_id}"


class UserResult(msgspec.Struct, frozen=True):
    """The identity of the caller; `user` is None for an anonymous one."""

    user: str | None
    name: str | None
    admin: bool


class ListPage(Protocol[Item_co]):
    """A page of a list: its `items`, and `next`, the cursor of the following page or None."""

    @property
    def items(self) -> Sequence[Item_co]:
        """The items of the page."""
        ...

    @property
    def next(self) -> str | None:
        """The cursor of the following page; None at the end."""
        ...


class _ItemsFirst(msgspec.Struct, Generic[Item], frozen=True):
    """A page whose first field is its list."""

    @property
    def items(self) -> list[Item]:
        """The items of the page."""
        items: list[Item] = getattr(self, self.__struct_fields__[0])
        return items


class Feed(_ItemsFirst[PostResult], frozen=True):
    """A page of the feed; `next` is the cursor of the following one."""

    posts: list[PostResult]
    next: str | None


class Comments(_ItemsFirst[CommentResult], frozen=True):
    """A page of comments, newest first; `next` is the cursor of the following one."""

    comments: list[CommentResult]
    next: str | None


class Reports(_ItemsFirst[ReportResult], frozen=True):
    """A page of the caller's reports, newest first."""

    reports: list[ReportResult]
    next: str | None


class Blocks(_ItemsFirst[BlockResult], frozen=True):
    """A page of the caller's blocks."""

    blocks: list[BlockResult]
    next: str | None


class Decisions(_ItemsFirst[DecisionResult], frozen=True):
    """A page of decisions, newest first."""

    decisions: list[DecisionResult]
    next: str | None


class Queue(_ItemsFirst[QueueEntryResult], frozen=True):
    """A page of the moderation queue, oldest entry first."""

    entries: list[QueueEntryResult]
    next: str | None


class Progress(msgspec.Struct, frozen=True):
    """An upload's or a download's progress: bytes `sent` of `total` (None while a stream's end is
    unknown). `trouble` is the failure before the next try, in `retry_in` seconds."""

    sent: int
    total: int | None
    trouble: str = ""
    retry_in: float = 0.0


class TakeoutProgress(msgspec.Struct, frozen=True):
    """The progress of a takeout: complete `originals` of `total` (None while lists are read), and
    the bytes `received` by this run. `trouble` and `retry_in` are those of `Progress`."""

    originals: int
    total: int | None
    received: int
    trouble: str = ""
    retry_in: float = 0.0


class TakeoutResult(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a complete takeout in `folder`: the number of items by list, and of
    `originals`. `received` are the bytes of originals that this run received. `missing` are posts
    without an original."""

    folder: str
    user: str
    posts: int
    comments: int
    reports: int
    blocks: int
    decisions: int
    originals: int
    received: int
    missing: list[str]


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


class UserBannedError(RefusedError):
    """The user is banned for `reason`, until the time `until` (RFC 3339; None: for good)."""

    def __init__(self, status: int, detail: str, reason: str | None, until: str | None) -> None:
        self.reason = reason
        self.until = until
        cause = f" for {reason}" if reason else ""
        end = f"until {until}" if until else "without an end"
        super().__init__(status, "banned", f"{detail} The ban{cause} is {end}.")


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
