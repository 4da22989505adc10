"""Routes for single posts."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from image_poster.domain import errors
from image_poster.domain.limits import LATEST_DEFAULT, LATEST_KEPT, WAIT_MAX_SECONDS
from image_poster.domain.posts import (
    POST_FORMAT,
    PostEdit,
    PostStatus,
    StoredPost,
    decode_post,
    post_tag,
)
from image_poster.domain.uploads import UploadTargets
from image_poster.http import openapi, requests, responses
from image_poster.http.auth import check_viewer, optional_identity
from image_poster.http.comments import CommentBody, comment_body
from image_poster.http.idempotency import idempotency_key, in_flight
from image_poster.http.limits import IDENTIFIED, IDENTIFIED_JSON, writer
from image_poster.http.multipart import receive_post_form
from image_poster.http.reservations import RESERVATION, read_reservation
from image_poster.http.uploads import UploadBody
from image_poster.services.upload_bodies import CountedBody

ShownComments = Annotated[int, QueryParameter(ge=0, le=LATEST_KEPT)]
Wait = Annotated[float, QueryParameter(ge=0, le=WAIT_MAX_SECONDS, description="Seconds.")]


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
    """Why a post's image cannot be shown."""

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


class CreatedPostBody(PostBody, frozen=True, kw_only=True):
    """A post as its creation is answered; `upload` is there while its image is awaited."""

    upload: UploadBody | UnsetType = UNSET


def convert_head(document: bytes) -> bytes:
    """Decode the document of a post's head that is not in the current wire format, and convert it
    to the body."""
    found = decode_post(document)
    image, failure = found.image, found.failure
    return msgspec.json.encode(
        PostHead(
            id=found.id,
            status=found.status,
            caption=found.caption,
            alt=found.alt,
            creator=found.creator,
            creator_name=found.creator_name,
            created_at=found.created_at,
            edited_at=found.edited_at,
            image=None
            if image is None
            else msgspec.convert(image, ImageBody, from_attributes=True),
            failure=UNSET
            if isinstance(failure, UnsetType)
            else FailureBody(failure.code, failure.detail),
        )
    )


wire = responses.WireBodies(POST_FORMAT, convert_head)


def post_body(stored: StoredPost, comments: int) -> bytes:
    """The JSON of a `PostBody` with at most `comments` of the latest, from stored documents."""
    shown = b",".join(map(comment_body, stored.latest_comments(comments)))
    head = wire.body(stored.head)[:-1]
    return b'%b,"total_comments":%d,"latest_comments":[%b]}' % (head, stored.total_comments, shown)


def own_post_body(stored: StoredPost, comments: int, targets: UploadTargets | None) -> bytes:
    """The JSON of a `CreatedPostBody`, as its creator sees it: with `upload` until its image is
    complete."""
    body = post_body(stored, comments)
    if targets is None:
        return body
    upload = msgspec.convert(targets, UploadBody, from_attributes=True)
    return b'%b,"upload":%b}' % (body[:-1], msgspec.json.encode(upload))


def new_post_body(stored: StoredPost) -> bytes:
    """The JSON of a new post, which has no comments."""
    return post_body(stored, 0)


def reserved_post_body(stored: StoredPost, targets: UploadTargets) -> bytes:
    """The JSON of a `CreatedPostBody` that awaits its image."""
    return own_post_body(stored, 0, targets)


class PostChange(msgspec.Struct, frozen=True):
    """The change of a post. A missing member stays as it is; null removes the text (RFC 7396)."""

    caption: str | UnsetType | None = UNSET
    alt: str | UnsetType | None = UNSET


_TEXTS = {"caption": openapi.TEXT, "alt": openapi.TEXT}
_FORM = Schema(
    type=OpenAPIType.OBJECT,
    required=["image"],
    properties={
        "image": Schema(type=OpenAPIType.STRING, content_media_type="image/*"),
        **_TEXTS,
    },
)


@post(
    "/posts",
    operation_id="createPost",
    operation_class=openapi.operation(
        openapi.IDEMPOTENCY_KEY,
        body={"multipart/form-data": _FORM, "application/json": RESERVATION},
        required=True,
    ),
    **IDENTIFIED,
    tags=["posts"],
    request_max_body_size=None,
    summary="Create a post from an image",
    responses=openapi.responses(
        {201: openapi.json_of(CreatedPostBody, "The post; Location points at it.")},
        errors.IdentityRequiredError,
        errors.InvalidJsonError,
        errors.InvalidMultipartError,
        errors.UploadTooLargeError,
        errors.MultipartTooLargeError,
        errors.BodyTooLargeError,
        errors.UnsupportedMediaTypeError,
        errors.UnsupportedImageError,
        errors.ValidationFailedError,
        errors.IdempotencyKeyReusedError,
        errors.RequestInProgressError,
        errors.GoneError,
        errors.StorageFullError,
        errors.BusyError,
    ),
)
async def create_post(request: requests.AnyRequest) -> Response[bytes]:
    """Multipart: `image`, and optionally `caption` and `alt`. The image is processed afterwards;
    `GET /posts/{id}?wait=20` answers when it is done.

    JSON: announces the image, and the post is `awaiting_upload`; `upload` says where its bytes may
    go, by tus or by one PUT.

    With the header `Idempotency-Key` a repeated request is answered as the first one was.
    """
    requests.check_coding(request)
    creator, key = await writer(request), idempotency_key(request)
    found = requests.services(request)
    if requests.is_json(request):
        order, content_type = await read_reservation(request)
        with in_flight(request).running(creator, key):
            reserve = found.uploads.reserve_as_post
            return responses.created_response(await reserve(creator, order, content_type, key))
    post_id = found.stores.clock.new_id()
    image = found.stores.images.stage(post_id)
    try:
        size = requests.declared_bytes(request)
        body = CountedBody(requests.body_chunks(request))
        async with found.user_limits.receiving(creator, size, body):
            requests.count_unread_body(request, found.user_limits.upload_quota.charge, creator.user)
            form = receive_post_form(request, image, found.limits, body, hashed=key is not None)
            draft = await form
            with in_flight(request).running(creator, key):
                answer = await found.posts.create(post_id, creator, draft, image, key)
            body.stored_bytes = body.received_bytes - draft.image_bytes * answer.replayed
        return responses.created_response(answer)
    finally:
        await image.discard()


@get(
    "/posts/{post_id:str}",
    operation_id="getPost",
    security=openapi.ANYONE,
    tags=["posts"],
    summary="One post",
    before_request=check_viewer,
    responses=openapi.responses(
        {
            200: openapi.json_of(CreatedPostBody, "The post."),
            304: openapi.nothing("You have it already."),
        },
        errors.IdentityRequiredError,
        errors.PostNotFoundError,
        errors.ValidationFailedError,
    ),
)
async def get_post(
    request: requests.AnyRequest,
    post_id: FromPath[str],
    wait: Wait = 0,
    comments: ShownComments = LATEST_DEFAULT,
) -> Response[bytes]:
    """With `wait`, the answer is held until the post leaves `processing`. A post that is not
    `ready` is there for its creator only, with `upload` while its image is awaited."""
    check_shown(request, comments)
    found, who = requests.services(request), await optional_identity(request)
    stored = await found.posts.get(requests.require_post_id(post_id), who, wait=wait)
    post = stored.post
    body = own_post_body(stored, comments, await found.uploads.awaited(post, who))
    return responses.versioned_json(request, body, post_tag(post))


def check_shown(request: requests.AnyRequest, comments: int) -> None:
    """Check the number of comments against the edition's limit, which may be lower than the
    contract's. Raises `ValidationFailedError`."""
    kept = requests.services(request).limits.latest_kept
    if comments > kept:
        raise errors.invalid("comments", f"at most {kept} are kept; see GET /limits")


@patch(
    "/posts/{post_id:str}",
    operation_id="editPost",
    operation_class=openapi.operation(openapi.IF_MATCH),
    **IDENTIFIED_JSON,
    tags=["posts"],
    summary="Change caption or alt text",
    request_max_body_size=requests.JSON_MAX_BYTES,
    responses=openapi.responses(
        {200: openapi.json_of(PostBody, "The post as it is now.")},
        errors.IdentityRequiredError,
        errors.InvalidJsonError,
        errors.NotYoursError,
        errors.PostNotFoundError,
        errors.EditConflictError,
        errors.BodyTooLargeError,
        errors.UnsupportedMediaTypeError,
        errors.ValidationFailedError,
        errors.StorageFullError,
        errors.BusyError,
    ),
)
async def edit_post(
    request: requests.AnyRequest, post_id: FromPath[str], data: JSONBody[PostChange]
) -> Response[bytes]:
    """For its creator or an admin. What is left out stays as it is. With `If-Match`, only if nobody
    has edited it since."""
    editor = await writer(request)
    if data.caption is UNSET and data.alt is UNSET:
        raise errors.invalid("body", "must have `caption` or `alt`")
    edit = PostEdit(_given(data.caption), _given(data.alt), responses.expected_tags(request))
    posts = requests.services(request).posts
    stored = await posts.edit(requests.require_post_id(post_id), editor, edit)
    body = post_body(stored, LATEST_DEFAULT)
    return responses.json_response(
        body, headers={"etag": responses.versioned_etag(body, post_tag(stored.post))}
    )


def _given(text: str | UnsetType | None) -> str | None:
    return None if isinstance(text, UnsetType) else text or ""


@delete(
    "/posts/{post_id:str}",
    operation_id="deletePost",
    **IDENTIFIED,
    tags=["posts"],
    summary="Delete a post",
    responses=openapi.responses(
        {204: openapi.nothing("Gone, with its comments and images.")},
        errors.IdentityRequiredError,
        errors.NotYoursError,
        errors.PostNotFoundError,
        errors.StorageFullError,
        errors.BusyError,
    ),
)
async def delete_post(request: requests.AnyRequest, post_id: FromPath[str]) -> None:
    """For its creator or an admin; repeating it is 204 again."""
    by = await writer(request)
    await requests.services(request).posts.delete(requests.require_post_id(post_id), by)


ROUTES = (create_post, get_post, edit_post, delete_post)
