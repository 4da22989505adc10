"""Routes for single posts."""

import asyncio
from typing import Annotated

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, UnsetType

from image_poster.domain import errors
from image_poster.domain.identity import Identity
from image_poster.domain.images import ImageFormat, declared_format
from image_poster.domain.limits import LATEST_DEFAULT, LATEST_KEPT, WAIT_MAX_SECONDS
from image_poster.domain.posts import (
    Post,
    PostEdit,
    PostStatus,
    PostTexts,
    StoredPost,
    is_withheld,
    post_tag,
)
from image_poster.domain.uploads import UploadOrder, UploadTargets
from image_poster.http import openapi, requests, responses
from image_poster.http.auth import identify_writer, optional_identity
from image_poster.http.multipart import receive_post_form
from image_poster.http.post_bodies import (
    ADMIN_IMAGES,
    OWN_IMAGES,
    CreatedPostBody,
    PostBody,
    PrivateView,
    own_post_body,
    post_body,
    private_post_body,
)
from image_poster.services.upload_bodies import CountedBody

_SHA256_HEX = "^[0-9A-Fa-f]{64}$"
ShownComments = Annotated[int, QueryParameter(ge=0, le=LATEST_KEPT)]
Wait = Annotated[float, QueryParameter(ge=0, le=WAIT_MAX_SECONDS, description="Seconds.")]


class PostChange(msgspec.Struct, frozen=True):
    """The change of a post. A missing member stays as it is; null removes the text (RFC 7396)."""

    caption: str | UnsetType | None = UNSET
    alt: str | UnsetType | None = UNSET


class AnnouncedImage(msgspec.Struct, frozen=True):
    """An image to come: `size` in bytes, its media type, and the SHA-256 of it in hexadecimal
    digits if it is to be compared."""

    size: Annotated[int, Meta(ge=1)]
    content_type: str
    sha256: Annotated[str, Meta(pattern=_SHA256_HEX)] | None = None


class PostReservation(msgspec.Struct, frozen=True):
    """A post whose image comes later. Null is as good as no text."""

    image: AnnouncedImage
    caption: str | None = None
    alt: str | None = None


_TEXTS = {"caption": openapi.TEXT, "alt": openapi.TEXT}
_OPTIONAL_TEXT = Schema(type=[OpenAPIType.STRING, OpenAPIType.NULL])
_OPTIONAL_TEXTS = {"caption": _OPTIONAL_TEXT, "alt": _OPTIONAL_TEXT}
_FORM = Schema(
    type=OpenAPIType.OBJECT,
    required=["image"],
    properties={
        "image": Schema(type=OpenAPIType.STRING, content_media_type="image/*"),
        **_TEXTS,
    },
)
_ANNOUNCED = Schema(
    type=OpenAPIType.OBJECT,
    required=["size", "content_type"],
    properties={
        "size": Schema(type=OpenAPIType.INTEGER, minimum=1),
        "content_type": Schema(type=OpenAPIType.STRING, enum=list(ImageFormat)),
        "sha256": Schema(type=OpenAPIType.STRING, pattern=_SHA256_HEX),
    },
)
_RESERVATION = Schema(
    type=OpenAPIType.OBJECT, required=["image"], properties={"image": _ANNOUNCED, **_OPTIONAL_TEXTS}
)
_BODY = openapi.body_of(
    {"multipart/form-data": _FORM, "application/json": _RESERVATION}, required=True
)


@post(
    "/posts",
    **openapi.writer(
        "posts",
        {201: openapi.response("The post; Location has its path.", CreatedPostBody)},
        *(openapi.KEYED, errors.BannedError, openapi.JSON_BODY, openapi.IMAGE_BODY, _BODY),
        *(errors.InvalidMultipartError, errors.MultipartTooLargeError),
    ),
    request_max_body_size=None,
)
async def create_post(request: requests.AnyRequest) -> Response[bytes]:
    """Create a post from an image.

    Multipart: `image`, and optionally `caption` and `alt`. The image is processed afterwards.
    `GET /posts/{id}?wait=20` answers when it is done.

    JSON: announces the image. The post is `awaiting_upload`, and `upload` has the URLs for its
    bytes, by tus or by one PUT.

    With the header `Idempotency-Key` a repeated request gets the first one's answer.
    """
    requests.check_coding(request)
    creator, key = await identify_writer(request), requests.idempotency_key(request)
    if requests.is_json(request):
        return await _reserve_post(request, creator, key)
    services = requests.services(request)
    post_id = services.stores.clock.new_id()
    image = services.stores.images.stage(post_id)
    try:
        size, limits = requests.declared_bytes(request), services.user_limits
        body = CountedBody(requests.body_chunks(request))
        async with limits.receiving(creator, size, body):
            requests.count_unread_body(request, limits.upload_quota.charge, creator.user)
            form = receive_post_form(request, image, services.limits, body, hashed=key is not None)
            draft = await form
            try:
                with requests.in_flight(request, creator, key):
                    answer = await services.posts.create(post_id, creator, draft, image, key)
            except asyncio.CancelledError:  # the post may be stored, and then counts its bytes
                body.stored_bytes = body.received_bytes
                raise
            body.stored_bytes = body.received_bytes - draft.image_bytes * answer.replayed
        return responses.created_response(answer)
    finally:
        await image.discard()


async def _reserve_post(
    request: requests.AnyRequest, creator: Identity, key: str | None
) -> Response[bytes]:
    """Reserve a post whose image is uploaded later. Raises `InvalidJsonError`, `BodyTooLargeError`
    and `ValidationFailedError`."""
    reservation = requests.decoded(await requests.json_body(request), PostReservation)
    image = reservation.image
    if declared_format(image.content_type) is None:
        raise errors.invalid("image.content_type", "must be a format that GET /limits lists")
    order = UploadOrder(
        length=image.size,
        texts=PostTexts(reservation.caption or "", reservation.alt or ""),
        sha256=bytes.fromhex(image.sha256 or ""),
    )
    uploads, content_type = requests.services(request).uploads, image.content_type.lower()
    with requests.in_flight(request, creator, key):
        answer = await uploads.reserve_as_post(creator, order, content_type, key)
    return responses.created_response(answer)


@get(
    "/posts/{post_id:str}",
    **openapi.viewer(
        "posts",
        openapi.cached("The post.", CreatedPostBody),
        *(errors.PostNotFoundError, errors.ValidationFailedError),
    ),
)
async def get_post(
    request: requests.AnyRequest,
    post_id: FromPath[str],
    wait: Wait = 0,
    comments: ShownComments = LATEST_DEFAULT,
) -> Response[bytes]:
    """One post.

    With `wait`, the answer waits until the post leaves `processing`. Only its creator gets a post
    that is not `ready`, with `upload` while its image is awaited.
    """
    check_shown(request, comments)
    services, viewer = requests.services(request), await optional_identity(request)
    stored = await services.posts.get(requests.require_id(post_id), viewer, wait=wait)
    post = stored.post
    if post.status is PostStatus.READY:
        body = post_body(stored, comments)
        etag = responses.versioned_etag(body, post_tag(post))
        return responses.tagged_json(request.headers, body, etag)
    targets = await services.uploads.awaited(post, viewer)
    body = await visible_post_body(request, stored, viewer, targets, comments)
    etag = responses.versioned_etag(body, post_tag(post))
    return responses.tagged_json(request.headers, body, etag, private_headers(post))


def private_headers(post: Post) -> dict[str, str]:
    """The headers of a response that shows the post: no cache may store it until it is public."""
    return {} if post.status is PostStatus.READY else {"cache-control": responses.PRIVATE}


async def visible_post_body(
    request: requests.AnyRequest,
    stored: StoredPost,
    viewer: Identity | None,
    targets: UploadTargets | None,
    comments: int,
) -> bytes:
    """The body of a post of any status for a caller who may see it; `targets` are its upload URLs,
    if it awaits its bytes."""
    post = stored.post
    if not is_withheld(post):
        return own_post_body(stored, targets, comments)
    notice = await requests.services(request).moderation.notice(post)
    is_own = viewer is not None and viewer.user == post.creator
    images = OWN_IMAGES if is_own else ADMIN_IMAGES
    return private_post_body(stored, PrivateView(images, notice), comments)


def check_shown(request: requests.AnyRequest, comments: int) -> None:
    """Check the number of comments against the edition's limit, which may be lower than the
    contract's. Raises `ValidationFailedError`."""
    max_comments = requests.services(request).limits.latest_kept
    if comments > max_comments:
        raise errors.invalid("comments", f"must be at most {max_comments} (see GET /limits)")


@patch(
    "/posts/{post_id:str}",
    **openapi.json_writer(
        "posts",
        {200: openapi.response("The post as it is now.", PostBody)},
        *(openapi.EDIT, errors.BannedError, errors.PostNotFoundError),
    ),
)
async def edit_post(
    request: requests.AnyRequest, post_id: FromPath[str], data: JSONBody[PostChange]
) -> Response[bytes]:
    """Change caption or alt text.

    For its creator or an admin. A missing member stays as it is. With `If-Match`, only if the post
    has not been edited since.
    """
    editor = await identify_writer(request)
    if data.caption is UNSET and data.alt is UNSET:
        raise errors.invalid("body", "must have `caption` or `alt`")
    expected = responses.expected_tags(request.headers)
    edit = PostEdit(_new_text(data.caption), _new_text(data.alt), expected)
    posts = requests.services(request).posts
    stored = await posts.edit(requests.require_id(post_id), editor, edit)
    body = await visible_post_body(request, stored, editor, None, LATEST_DEFAULT)
    return responses.edited_json(body, post_tag(stored.post), private_headers(stored.post))


def _new_text(text: str | UnsetType | None) -> str | None:
    """The text of a change; None to leave it, and empty to remove it."""
    return None if isinstance(text, UnsetType) else text or ""


@delete(
    "/posts/{post_id:str}",
    **openapi.writer(
        "posts",
        {204: openapi.response("The post was deleted, with its comments and images.")},
        *(errors.NotYoursError, errors.PostNotFoundError),
    ),
)
async def delete_post(request: requests.AnyRequest, post_id: FromPath[str]) -> None:
    """Delete a post.

    For its creator or an admin. A repeated request gets 204 again.
    """
    caller = await identify_writer(request, while_banned=True)
    await requests.services(request).posts.delete(requests.require_id(post_id), caller)


ROUTES = (create_post, get_post, edit_post, delete_post)
