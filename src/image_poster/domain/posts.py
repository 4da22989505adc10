"""Posts: their shape, and the only place that says how one moves from state to state.

    awaiting_upload ──▶ processing ──▶ ready
                            │ ▲
                            ▼ │ replay, by an operator
                          failed

A function here takes a post and gives the changed one, or raises; the stores apply it atomically.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from image_poster.domain.comments import Comment, split_latest
from image_poster.domain.errors import PostNotFoundError, PostNotReadyError
from image_poster.domain.identity import Identity
from image_poster.domain.images import RENDITION_LARGE, RENDITION_SMALL, RenderedImage


class PostStatus(StrEnum):
    """Where a post is in its life."""

    AWAITING_UPLOAD = "awaiting_upload"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class Rendition(msgspec.Struct, frozen=True):
    """One JPEG of a post's picture; `url` is relative to the service."""

    url: str
    width: int
    height: int


class Image(msgspec.Struct, frozen=True):
    """A post's picture: the square one, the whole one, and a BlurHash to show meanwhile."""

    url: str
    width: int
    height: int
    large: Rendition
    placeholder: str


class Failure(msgspec.Struct, frozen=True):
    """Why a post's picture cannot be shown."""

    code: str
    detail: str


# What a post's owner sees while an operator has the work in the dead-letter place.
PROCESSING_FAILED = Failure(
    "processing_failed",
    "We could not process this picture. Nothing is wrong with it; we have been told.",
)


class Post(msgspec.Struct, frozen=True):
    """A post without its comments. `failure` is there only when `status` is `failed`."""

    id: str
    status: PostStatus
    caption: str
    alt: str
    creator: str
    created_at: str
    edited_at: str | None = None
    image: Image | None = None
    failure: Failure | UnsetType = UNSET


class PostWithComments(Post, frozen=True, kw_only=True):
    """A post as the API shows it."""

    total_comments: int
    latest_comments: list[Comment]


class StoredPost(NamedTuple):
    """A post as the stores keep it: encoded once when written, copied as bytes when read.

    `head` is the JSON of a `Post`; `latest` holds the newest comments as JSON, one a line, newest
    first (JSON has no raw newline, so a line is a comment).
    """

    id: str
    total_comments: int
    head: bytes
    latest: bytes

    @property
    def post(self) -> Post:
        """The decoded `head`."""
        return _decode(self.head)

    def json(self, comments: int) -> bytes:
        """The JSON of a `PostWithComments` with at most `comments` of the latest."""
        shown = b",".join(split_latest(self.latest, comments))
        return b'%b,"total_comments":%d,"latest_comments":[%b]}' % (
            self.head[:-1],
            self.total_comments,
            shown,
        )


_decode = msgspec.json.Decoder(Post).decode
encode_post = msgspec.json.Encoder().encode


def check_visible(post: Post, viewer: Identity | None) -> None:
    """A post that is not ready is there for its creator only; raises `PostNotFoundError`."""
    if post.status is not PostStatus.READY and (viewer is None or viewer.user != post.creator):
        raise PostNotFoundError


def check_open_for_comments(status: str, creator: str, author: str) -> None:
    """Only ready posts take comments; raises `PostNotReadyError` to the creator, else
    `PostNotFoundError`."""
    if status != PostStatus.READY:
        raise PostNotReadyError if creator == author else PostNotFoundError


def edited_post(
    post: Post, editor: Identity, *, caption: str | None, alt: str | None, now: str
) -> Post:
    """The post with a new caption or alt text (None leaves it), by its creator or an admin."""
    if not editor.admin:
        check_visible(post, editor)
    editor.require(post.creator)
    return msgspec.structs.replace(
        post,
        caption=post.caption if caption is None else caption,
        alt=post.alt if alt is None else alt,
        edited_at=now,
    )


def uploaded_post(post: Post) -> Post:
    """`awaiting_upload` → `processing`. Anything else stays as it is: completing twice is
    harmless."""
    if post.status is not PostStatus.AWAITING_UPLOAD:
        return post
    return msgspec.structs.replace(post, status=PostStatus.PROCESSING)


def published_post(post: Post, rendered: RenderedImage) -> Post:
    """`processing` → `ready`. Anything else stays as it is: work delivered twice is harmless."""
    if post.status is not PostStatus.PROCESSING:
        return post
    return msgspec.structs.replace(
        post,
        status=PostStatus.READY,
        image=Image(
            url=image_url(post.id, RENDITION_SMALL),
            width=rendered.small.width,
            height=rendered.small.height,
            large=Rendition(
                url=image_url(post.id, RENDITION_LARGE),
                width=rendered.large.width,
                height=rendered.large.height,
            ),
            placeholder=rendered.placeholder,
        ),
    )


def failed_post(post: Post, failure: Failure) -> Post:
    """`processing` → `failed`, with the reason. Anything else stays as it is."""
    if post.status is not PostStatus.PROCESSING:
        return post
    return msgspec.structs.replace(post, status=PostStatus.FAILED, failure=failure)


def is_parked(post: Post) -> bool:
    """Whether the post waits in the dead-letter place for an operator."""
    return post.failure == PROCESSING_FAILED


def replayed_post(post: Post) -> Post:
    """From the dead-letter place back to `processing`; any other post stays as it is."""
    if not is_parked(post):
        return post
    return msgspec.structs.replace(post, status=PostStatus.PROCESSING, failure=UNSET)


def image_url(post_id: str, rendition: str) -> str:
    """Where a rendition is served, relative to the service."""
    return f"/images/{post_id}/{rendition}.jpg"
