"""Posts: their fields, and the only place with the transitions between their states.

    awaiting_upload ──▶ processing ──▶ ready ◀──▶ hidden
                          ▲ │ │          ▲
       replay, by an      │ │ ▼          │
       operator           │ │ in_review ─┤ publish
                          │ ▼            │
                         failed ─────────┘ (an image that was rejected: `is_withheld`)

A function here takes a post and returns the changed one, or raises; the stores apply it atomically.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from image_poster.domain.comments import split_latest, unnumbered
from image_poster.domain.errors import PostNotFoundError, PostNotReadyError
from image_poster.domain.identity import ExpectedTags, Identity, check_unchanged, edit_tag
from image_poster.domain.ids import rfc3339
from image_poster.domain.images import RENDITION_LARGE, RENDITION_SMALL, RenderedImage
from image_poster.domain.limits import Limits, clean

# The format of stored documents that is written; see `Post`.
POST_FORMAT = 2


class PostStatus(StrEnum):
    """The state of a post."""

    AWAITING_UPLOAD = "awaiting_upload"
    PROCESSING = "processing"
    IN_REVIEW = "in_review"
    READY = "ready"
    HIDDEN = "hidden"
    FAILED = "failed"


# The statuses of posts that their creator has to continue or to give up.
UNFINISHED_POSTS = "unfinished"
UNFINISHED = frozenset({PostStatus.AWAITING_UPLOAD, PostStatus.PROCESSING, PostStatus.FAILED})
# The statuses that only a post's creator and admins see. Their renditions are withheld.
WITHHELD = frozenset({PostStatus.IN_REVIEW, PostStatus.HIDDEN})


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


# The failure that a post's owner sees while the job is in the dead-letter queue.
PROCESSING_FAILED = Failure(
    "processing_failed",
    "The service could not process this image, and the image is not the cause. Tell its operators, "
    "or try again later.",
)

# The failures of images that were rejected. Their renditions are withheld, until they expire.
IMAGE_BLOCKED = Failure(
    "image_blocked",
    "This image is on the service's list of blocked images. You can appeal (GET /me/decisions).",
)
IMAGE_REJECTED = Failure(
    "image_rejected",
    "The service's review rejected this image. You can appeal (GET /me/decisions).",
)
_WITHHELD_FAILURES = frozenset({IMAGE_BLOCKED.code, IMAGE_REJECTED.code})


class Post(msgspec.Struct, frozen=True, tag_field="v", tag=POST_FORMAT):
    """A post without its comments, as stored: its document begins with its format, `{"v":2,`.

    `creator_name` is the creator's display name at that time; without one, it is `creator`.
    `failure` is there only when `status` is `failed`. Format 1, and documents from before formats
    were numbered, have no names, and are read as such. The API shows a post as
    `http.post_bodies.PostBody`.
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
        """Fill in the name, also on reading."""
        if not self.creator_name:
            msgspec.structs.force_setattr(self, "creator_name", self.creator)


class PostTexts(NamedTuple):
    """The texts of a post, by its creator."""

    caption: str = ""
    alt: str = ""

    def checked(self, limits: Limits) -> "PostTexts":
        """The cleaned texts to store; raises `ValidationFailedError`."""
        caption = clean("caption", self.caption, longest=limits.caption_characters)
        return PostTexts(caption, clean("alt", self.alt, longest=limits.alt_characters))


class PostEdit(NamedTuple):
    """A change of a post's texts; None keeps one. `expected` are the tags of the version that
    it changes."""

    caption: str | None = None
    alt: str | None = None
    expected: ExpectedTags = None

    def checked(self, limits: Limits) -> "PostEdit":
        """The edit with cleaned texts; raises `ValidationFailedError`."""
        texts = PostTexts(self.caption or "", self.alt or "").checked(limits)
        return self._replace(
            caption=None if self.caption is None else texts.caption,
            alt=None if self.alt is None else texts.alt,
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
    """Decode a post from its document, of any format."""
    return _decode(unnumbered(document))


def new_stored_post(post: Post) -> StoredPost:
    """A new post as stored, without comments."""
    return StoredPost(post.id, 0, encode_post(post), b"")


def new_post(
    post_id: str, status: PostStatus, creator: Identity, texts: PostTexts, now_ms: int
) -> Post:
    """A post with checked texts, created at `now_ms` (since 1970)."""
    return Post(
        id=post_id,
        status=status,
        caption=texts.caption,
        alt=texts.alt,
        creator=creator.user,
        creator_name=creator.name,
        created_at=rfc3339(now_ms),
    )


def is_withheld(post: Post) -> bool:
    """True if renditions of the post are there, and not public."""
    if post.status is PostStatus.FAILED:
        return isinstance(post.failure, Failure) and post.failure.code in _WITHHELD_FAILURES
    return post.status in WITHHELD


def check_visible(post: Post, viewer: Identity | None) -> None:
    """Check that `viewer` may see the post: everybody may if it is ready, admins if it is hidden or
    in review, its creator always. Raises `PostNotFoundError`."""
    if post.status is PostStatus.READY:
        return
    if viewer is None or not (
        viewer.user == post.creator or (viewer.admin and post.status in WITHHELD)
    ):
        raise PostNotFoundError


def check_may_change(post: Post, user: Identity) -> None:
    """Check that the user may edit or delete the post: its creator and admins may. Raises
    `NotYoursError`, and `PostNotFoundError` for a post that the user may not see."""
    if not user.admin:
        check_visible(post, user)
    user.require(post.creator)


def check_open_for_comments(status: str, creator: str, author: Identity) -> None:
    """Check that the post is ready, as only ready posts accept comments. Raises `PostNotReadyError`
    to an author who may see the post (`check_visible`), else `PostNotFoundError`."""
    if status != PostStatus.READY:
        may_see = creator == author.user or (author.admin and status in WITHHELD)
        raise PostNotReadyError if may_see else PostNotFoundError


def post_tag(post: Post) -> str:
    """The tag of this version of the post's texts."""
    return edit_tag(post.caption, post.alt, post.edited_at)


def edited_post(post: Post, editor: Identity, edit: PostEdit, *, now: str) -> Post:
    """The post after an edit by its creator or an admin.

    Raises `PostNotFoundError`, `NotYoursError`, and `EditConflictError` if the post's tag is not in
    `edit.expected`. An edit that was already applied succeeds again: its answer was lost.
    """
    check_may_change(post, editor)
    edited = msgspec.structs.replace(
        post,
        caption=post.caption if edit.caption is None else edit.caption,
        alt=post.alt if edit.alt is None else edit.alt,
    )
    if edit.expected is not None and edited == post and post.edited_at is not None:
        return post
    check_unchanged(post_tag(post), edit.expected)
    return msgspec.structs.replace(edited, edited_at=now)


def uploaded_post(post: Post) -> Post:
    """`awaiting_upload` → `processing`. Anything else stays as it is: completing twice is
    harmless."""
    if post.status is not PostStatus.AWAITING_UPLOAD:
        return post
    return msgspec.structs.replace(post, status=PostStatus.PROCESSING)


def published_post(
    post: Post, rendered: RenderedImage, status: PostStatus = PostStatus.READY
) -> Post:
    """`processing` → `ready`, or `in_review` if `status` says so. Anything else stays as it is:
    work delivered twice is harmless."""
    if post.status is not PostStatus.PROCESSING:
        return post
    return msgspec.structs.replace(
        post,
        status=status,
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


def rejected_post(post: Post, rendered: RenderedImage, failure: Failure) -> Post:
    """`processing` → `failed`, because the image was rejected. The post keeps its image, which is
    withheld, so that `publish` can undo this. Anything else stays as it is."""
    if post.status is not PostStatus.PROCESSING:
        return post
    published = published_post(post, rendered)
    return msgspec.structs.replace(published, status=PostStatus.FAILED, failure=failure)


def is_parked(post: Post) -> bool:
    """Return True if the post is in the dead-letter queue, for an operator."""
    return isinstance(post.failure, Failure) and post.failure.code == PROCESSING_FAILED.code


def replayed_post(post: Post) -> Post:
    """Move a post from the dead-letter queue back to `processing`; return any other post as it
    is."""
    if not is_parked(post):
        return post
    return msgspec.structs.replace(post, status=PostStatus.PROCESSING, failure=UNSET)


def listed_statuses(status: str | None) -> frozenset[PostStatus]:
    """The statuses that `GET /me/posts?status=` names: one, `unfinished`, or all (None). Raises
    `ValueError` for any other text."""
    if status is None:
        return frozenset(PostStatus)
    return UNFINISHED if status == UNFINISHED_POSTS else frozenset({PostStatus(status)})


def image_url(post_id: str, rendition: str) -> str:
    """The path of a rendition, relative to the service."""
    return f"/images/{post_id}/{rendition}.jpg"
