"""The JSON bodies of posts, as everybody, their creators and admins see them."""

from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from image_poster.domain.moderation import Action, Appeal, AppealedDecision
from image_poster.domain.posts import POST_FORMAT, PostStatus, StoredPost, decode_post
from image_poster.domain.uploads import UploadTargets
from image_poster.http import responses
from image_poster.http.comments import CommentBody, comment_body
from image_poster.http.uploads import UploadBody


class RenditionBody(msgspec.Struct, frozen=True):
    """One JPEG of a post's image; `url` is relative to the service."""

    url: str
    width: int
    height: int


class ImageBody(msgspec.Struct, frozen=True):
    """A post's image: the square one, the whole one, and a BlurHash to show meanwhile."""

    url: str
    width: int
    height: int
    large: RenditionBody
    placeholder: str


class FailureBody(msgspec.Struct, frozen=True):
    """The reason why a post's image cannot be shown."""

    code: str
    detail: str


class PostHead(msgspec.Struct, frozen=True):
    """A post as the API shows it, but for its comments."""

    id: str
    status: PostStatus
    caption: str
    alt: str
    creator: str
    created_at: str
    edited_at: str | None
    image: ImageBody | None
    creator_name: str
    failure: FailureBody | UnsetType = UNSET


class PostBody(PostHead, frozen=True, kw_only=True):
    """A post as the API shows it. `failure` is there only when `status` is `failed`."""

    total_comments: int
    latest_comments: list[CommentBody]


class AppealBody(msgspec.Struct, frozen=True):
    """An appeal against a decision. `outcome` is `dismissed`, or null while it is open or was
    granted by another decision."""

    text: str
    created_at: str
    outcome: str | None


class NoticeBody(msgspec.Struct, frozen=True):
    """The decision by which a post is not public. `id` is for `POST /me/decisions/{id}/appeal`."""

    id: str
    action: Action
    reason: str | None
    text: str | None
    created_at: str
    appeal: AppealBody | None


class CreatedPostBody(PostBody, frozen=True, kw_only=True):
    """A post as a caller sees it who may see it before it is public. `upload` is there while its
    image is awaited, `moderation` while a decision keeps it from the public."""

    upload: UploadBody | UnsetType = UNSET
    moderation: NoticeBody | UnsetType = UNSET


def convert_head(document: bytes) -> bytes:
    """Decode the document of a post's head that is not in the current wire format, and convert it
    to the body."""
    post = msgspec.to_builtins(decode_post(document))
    return msgspec.json.encode(msgspec.convert(post, PostHead))


wire = responses.WireBodies(POST_FORMAT, convert_head)


def post_body(stored: StoredPost, comments: int = 0) -> bytes:
    """The JSON of a `PostBody` with at most `comments` of the latest, from stored documents."""
    shown = b",".join(map(comment_body, stored.latest_comments(comments)))
    head = wire.body(stored.head)[:-1]
    return b'%b,"total_comments":%d,"latest_comments":[%b]}' % (head, stored.total_comments, shown)


def own_post_body(stored: StoredPost, targets: UploadTargets | None, comments: int = 0) -> bytes:
    """The JSON of a `CreatedPostBody`, as its creator sees it: with `upload` until its image is
    complete."""
    body = post_body(stored, comments)
    if targets is None:
        return body
    upload = msgspec.convert(targets, UploadBody, from_attributes=True)
    return b'%b,"upload":%b}' % (body[:-1], msgspec.json.encode(upload))


class PrivateView(NamedTuple):
    """A caller's view of a post that is not public. `images` is the path of its images for this
    caller; `notice` is the decision by which the post is not public, if there is one."""

    images: str
    notice: AppealedDecision | None = None


OWN_IMAGES = "/me/images/"
ADMIN_IMAGES = "/moderation/images/"


def private_post_body(stored: StoredPost, view: PrivateView, comments: int = 0) -> bytes:
    """The JSON of a `CreatedPostBody` whose renditions are withheld: its image has URLs for this
    caller. A failed post has no image for its creator."""
    head = msgspec.json.decode(wire.body(stored.head), type=PostHead)
    image = head.image
    if image is not None and head.status is PostStatus.FAILED and view.images == OWN_IMAGES:
        image = None
    elif image is not None:
        image = _image_at(image, view.images)
    shown = b",".join(map(comment_body, stored.latest_comments(comments)))
    body = msgspec.json.encode(msgspec.structs.replace(head, image=image))[:-1]
    body = b'%b,"total_comments":%d,"latest_comments":[%b]' % (body, stored.total_comments, shown)
    if view.notice is None:
        return body + b"}"
    return b'%b,"moderation":%b}' % (body, msgspec.json.encode(_notice_body(view.notice)))


def _image_at(image: ImageBody, path: str) -> ImageBody:
    """The image with URLs below `path`."""
    large = msgspec.structs.replace(image.large, url=_url_at(image.large.url, path))
    return msgspec.structs.replace(image, url=_url_at(image.url, path), large=large)


def _url_at(url: str, path: str) -> str:
    return path + url.removeprefix("/images/")


def _notice_body(notice: AppealedDecision) -> NoticeBody:
    decision = notice.decision
    return NoticeBody(
        decision.id,
        decision.action,
        decision.reason,
        decision.text or None,
        decision.created_at,
        appeal_body(notice.appeal),
    )


def appeal_body(appeal: Appeal | None) -> AppealBody | None:
    """The body of an appeal, if there is one."""
    return None if appeal is None else AppealBody(appeal.text, appeal.created_at, appeal.outcome)
