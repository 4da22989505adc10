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

from image_poster.domain.comments import split_latest, unnumbered
from image_poster.domain.edits import ExpectedTags, check_unchanged, edit_tag
from image_poster.domain.errors import PostNotFoundError, PostNotReadyError
from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.images import RENDITION_LARGE, RENDITION_SMALL, RenderedImage
from image_poster.domain.limits import Limits, clean

# The format of stored documents that is written; see `Post`.
POST_FORMAT = 2


class PostStatus(StrEnum):
    """Where a post is in its life."""

    AWAITING_UPLOAD = "awaiting_upload"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class Rendition(msgspec.Struct, frozen=True):
    """One JPEG of a post's image; `url` is relative to the service."""

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
    """Why a post's image cannot be shown."""

    code: str
    detail: str


# What a post's owner sees while an operator has the work in the dead-letter place.
PROCESSING_FAILED = Failure(
    "processing_failed",
    "We could not process this image. Nothing is wrong with it; we have been told.",
)


class Post(msgspec.Struct, frozen=True, tag_field="v", tag=POST_FORMAT):
    """A post without its comments, as stored: its document begins with its format, `{"v":2,`.

    `creator_name` is what its creator was called when it was made; without one, as `creator`.
    `failure` is there only when `status` is `failed`. Format 1, and documents from before formats
    were numbered, have no names, and are read as such. What the API shows is `http.posts.PostBody`.
    """

    id: str
    status: PostStatus
    caption: str
    alt: str
    creator: str
    created_at: str
    edited_at: str | None = None
    image: Image | None = None
    creator_name: str = ""
    failure: Failure | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Also when it is read."""
        if not self.creator_name:
            msgspec.structs.force_setattr(self, "creator_name", self.creator)


class PostTexts(NamedTuple):
    """What its creator wrote of a post."""

    caption: str = ""
    alt: str = ""

    def checked(self, limits: Limits) -> "PostTexts":
        """As they are kept; raises `ValidationFailedError`."""
        caption = clean("caption", self.caption, longest=limits.caption_characters)
        return PostTexts(caption, clean("alt", self.alt, longest=limits.alt_characters))


class PostEdit(NamedTuple):
    """A change of a post's texts; None leaves one. `seen` are the tags of what it was made from."""

    caption: str | None = None
    alt: str | None = None
    seen: ExpectedTags = None

    def checked(self, limits: Limits) -> "PostEdit":
        """With texts as they are kept; raises `ValidationFailedError`."""
        given = PostTexts(self.caption or "", self.alt or "").checked(limits)
        return self._replace(
            caption=None if self.caption is None else given.caption,
            alt=None if self.alt is None else given.alt,
        )


class StoredPost(NamedTuple):
    """A post as the stores hand it out: its documents are encoded when written, and copied as bytes
    when read.

    `head` is the document of a `Post`; `latest` holds the documents of the newest comments, one a
    line, newest first.
    """

    id: str
    total_comments: int
    head: bytes
    latest: bytes

    @property
    def post(self) -> Post:
        """The decoded `head`."""
        return decode_post(self.head)

    def latest_comments(self, longest: int) -> list[bytes]:
        """The documents of the newest `longest` comments."""
        return split_latest(self.latest, longest)


encode_post = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Post).decode


def decode_post(document: bytes) -> Post:
    """From its document, of whatever format."""
    return _decode(unnumbered(document))


def new_stored_post(post: Post) -> StoredPost:
    """A new post, as it will be stored: nobody has commented yet."""
    return StoredPost(post.id, 0, encode_post(post), b"")


def new_post(
    post_id: str, status: PostStatus, creator: Identity, texts: PostTexts, now_ms: int
) -> Post:
    """A post whose texts have been checked, made now (`now_ms` since 1970)."""
    return Post(
        id=post_id,
        status=status,
        caption=texts.caption,
        alt=texts.alt,
        creator=creator.user,
        creator_name=creator.name,
        created_at=rfc3339(now_ms),
    )


def check_visible(post: Post, viewer: Identity | None) -> None:
    """A post that is not ready is there for its creator only; raises `PostNotFoundError`."""
    if post.status is not PostStatus.READY and (viewer is None or viewer.user != post.creator):
        raise PostNotFoundError


def check_open_for_comments(status: str, creator: str, author: str) -> None:
    """Only ready posts take comments; raises `PostNotReadyError` to the creator, else
    `PostNotFoundError`."""
    if status != PostStatus.READY:
        raise PostNotReadyError if creator == author else PostNotFoundError


def post_tag(post: Post) -> str:
    """Names this version of its texts."""
    return edit_tag(post.caption, post.alt, post.edited_at)


def edited_post(post: Post, editor: Identity, edit: PostEdit, *, now: str) -> Post:
    """The post after an edit by its creator or an admin. Raises `PostNotFoundError`,
    `NotYoursError`, and `EditConflictError` if it is none that was seen, unless it is as wanted
    already: the answer to that very edit was lost."""
    if not editor.admin:
        check_visible(post, editor)
    editor.require(post.creator)
    wanted = msgspec.structs.replace(
        post,
        caption=post.caption if edit.caption is None else edit.caption,
        alt=post.alt if edit.alt is None else edit.alt,
    )
    if edit.seen is not None and wanted == post and post.edited_at is not None:
        return post
    check_unchanged(post_tag(post), edit.seen)
    return msgspec.structs.replace(wanted, edited_at=now)


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
    return isinstance(post.failure, Failure) and post.failure.code == PROCESSING_FAILED.code


def replayed_post(post: Post) -> Post:
    """From the dead-letter place back to `processing`; any other post stays as it is."""
    if not is_parked(post):
        return post
    return msgspec.structs.replace(post, status=PostStatus.PROCESSING, failure=UNSET)


def image_url(post_id: str, rendition: str) -> str:
    """Where a rendition is served, relative to the service."""
    return f"/images/{post_id}/{rendition}.jpg"
