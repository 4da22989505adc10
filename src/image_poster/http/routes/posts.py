"""Posts and the feed."""

from typing import Annotated
from urllib.parse import parse_qsl, urlencode

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from image_poster.domain.errors import (
    BodyTooLargeError,
    BusyError,
    IdempotencyKeyReusedError,
    IdentityRequiredError,
    ImageNotFoundError,
    InvalidCursorError,
    InvalidJsonError,
    InvalidMultipartError,
    MultipartTooLargeError,
    NotYoursError,
    PostNotFoundError,
    RangeNotSatisfiableError,
    RequestInProgressError,
    StorageFullError,
    UnsupportedImageError,
    UnsupportedMediaTypeError,
    UploadTooLargeError,
    ValidationFailedError,
    invalid,
)
from image_poster.domain.feed import FeedSort
from image_poster.domain.ids import new_id
from image_poster.domain.images import SNIFF_BYTES, sniff
from image_poster.domain.limits import (
    FEED_PAGE_DEFAULT,
    LATEST_DEFAULT,
    LATEST_KEPT,
    WAIT_MAX_SECONDS,
)
from image_poster.domain.posts import PostWithComments
from image_poster.domain.uploads import ReservedPost
from image_poster.http.auth import caller, viewer
from image_poster.http.bodies import JSON_MAX_BYTES, is_json, json_only
from image_poster.http.document_requests import CreatePostOperation
from image_poster.http.documents import (
    FeedBody,
    answers,
    bytes_of,
    json_of,
    nothing,
    one_of,
)
from image_poster.http.multipart import receive_post_form
from image_poster.http.page_cache import PageCache, ReadyPage
from image_poster.http.repeats import created, idempotency_key, in_flight
from image_poster.http.replies import (
    PRIVATE,
    FileReply,
    conditional_json,
    etag_of,
    file_reply,
    json_reply,
    tagged_json,
)
from image_poster.http.requests import AnyRequest, PageLimit, known_post, use_cases
from image_poster.http.reservations import read_reservation
from image_poster.ports.images import RemoteFile, StoredFile
from image_poster.usecases.list_feed import Feed

ShownComments = Annotated[int, QueryParameter(ge=0, le=LATEST_KEPT)]
Wait = Annotated[float, QueryParameter(ge=0, le=WAIT_MAX_SECONDS, description="Seconds.")]


class PostChange(msgspec.Struct, frozen=True):
    """What to change; what is left out stays."""

    caption: str | UnsetType = UNSET
    alt: str | UnsetType = UNSET


@post(
    "/posts",
    operation_id="createPost",
    operation_class=CreatePostOperation,
    request_max_body_size=None,
    summary="Create a post from a picture",
    responses=answers(
        {201: one_of(PostWithComments, ReservedPost, "The post; Location points at it.")},
        IdentityRequiredError,
        InvalidJsonError,
        InvalidMultipartError,
        UploadTooLargeError,
        MultipartTooLargeError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        UnsupportedImageError,
        ValidationFailedError,
        IdempotencyKeyReusedError,
        RequestInProgressError,
        StorageFullError,
        BusyError,
    ),
)
async def create_post(request: AnyRequest) -> Response[bytes]:
    """Multipart: `image`, and optionally `caption` and `alt`. The picture is processed afterwards;
    `GET /posts/{id}?wait=20` answers when it is done.

    JSON: announces the picture, and the post is `awaiting_upload`; `upload` says where its bytes
    may go, by tus or by one PUT.

    With the header `Idempotency-Key` a repeated request is answered as the first one was.
    """
    creator, key = caller(request), idempotency_key(request)
    use = use_cases(request)
    if is_json(request):
        reservation = await read_reservation(request)
        with in_flight(request).running(creator, key):
            return created(await use.reserve_upload.as_post(creator, *reservation, key))
    post_id = new_id()
    picture = use.pictures.stage(post_id)
    try:
        draft = await receive_post_form(request, picture, use.limits, hashed=key is not None)
        with in_flight(request).running(creator, key):
            return created(await use.create_post(post_id, creator, draft, picture, key))
    finally:
        await picture.discard()


@get(
    "/posts",
    operation_id="listPosts",
    summary="The feed",
    responses=answers(
        {200: json_of(FeedBody, "A page."), 304: nothing("You have this page already.")},
        IdentityRequiredError,
        InvalidCursorError,
        ValidationFailedError,
    ),
)
async def list_posts(
    request: AnyRequest,
    limit: PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
    sort: FromQuery[FeedSort] = FeedSort.TOP,
    creator: FromQuery[str | None] = None,
    comments: ShownComments = LATEST_DEFAULT,
) -> Response[bytes]:
    """Ready posts: `top` by comments, then newest; `new` newest first. Go on with `next`."""
    _check_shown(request, comments)
    question = (sort, limit, cursor, creator, comments)
    pages: PageCache = request.app.state.feed_pages
    page = pages.find(question)
    if page is None:
        feed = await use_cases(request).list_feed(
            sort=sort, limit=limit, cursor=cursor, creator=creator
        )
        page = _ready_page(feed, comments, request.scope["query_string"].decode())
        pages.keep(question, page)
    headers = {"link": page.link} if page.link else None
    return tagged_json(request, page.body, page.etag, headers)


def _check_shown(request: AnyRequest, comments: int) -> None:
    """An edition may keep fewer of the latest comments than the contract allows."""
    kept = use_cases(request).limits.latest_kept
    if comments > kept:
        raise invalid("comments", f"at most {kept} are kept; see GET /limits")


def _ready_page(feed: Feed, comments: int, query: str) -> ReadyPage:
    posts = b",".join([stored.json(comments) for stored in feed.posts])
    body = b'{"posts":[%b],"next":%b}' % (posts, msgspec.json.encode(feed.next))
    return ReadyPage(body, etag_of(body), feed.next and _link(query, feed.next))


def _link(query: str, cursor: str) -> str:
    """RFC 8288: the next page under the same question."""
    question = {**dict(parse_qsl(query)), "cursor": cursor}
    return f'</posts?{urlencode(question)}>; rel="next"'


@get(
    "/posts/{post_id:str}",
    operation_id="getPost",
    summary="One post",
    responses=answers(
        {200: json_of(PostWithComments, "The post."), 304: nothing("You have it already.")},
        IdentityRequiredError,
        PostNotFoundError,
        ValidationFailedError,
    ),
)
async def get_post(
    request: AnyRequest,
    post_id: FromPath[str],
    wait: Wait = 0,
    comments: ShownComments = LATEST_DEFAULT,
) -> Response[bytes]:
    """With `wait`, the answer is held until the post leaves `processing`. A post that is not
    `ready` is there for its creator only."""
    _check_shown(request, comments)
    stored = await use_cases(request).get_post(known_post(post_id), viewer(request), wait=wait)
    return conditional_json(request, stored.json(comments))


@patch(
    "/posts/{post_id:str}",
    operation_id="editPost",
    summary="Change caption or alt text",
    before_request=json_only,
    request_max_body_size=JSON_MAX_BYTES,
    responses=answers(
        {200: json_of(PostWithComments, "The post as it is now.")},
        IdentityRequiredError,
        InvalidJsonError,
        NotYoursError,
        PostNotFoundError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        ValidationFailedError,
        StorageFullError,
        BusyError,
    ),
)
async def edit_post(
    request: AnyRequest, post_id: FromPath[str], data: JSONBody[PostChange]
) -> Response[bytes]:
    """For its creator or an admin. What is left out stays as it is."""
    editor = caller(request)
    if data.caption is UNSET and data.alt is UNSET:
        raise invalid("body", "must have `caption` or `alt`")
    stored = await use_cases(request).edit_post(
        known_post(post_id), editor, caption=_given(data.caption), alt=_given(data.alt)
    )
    return json_reply(stored.json(LATEST_DEFAULT))


def _given(text: str | UnsetType) -> str | None:
    return None if isinstance(text, UnsetType) else text


@delete(
    "/posts/{post_id:str}",
    operation_id="deletePost",
    summary="Delete a post",
    responses=answers(
        {204: nothing("Gone, with its comments and pictures.")},
        IdentityRequiredError,
        NotYoursError,
        PostNotFoundError,
        StorageFullError,
        BusyError,
    ),
)
async def delete_post(request: AnyRequest, post_id: FromPath[str]) -> None:
    """For its creator or an admin; repeating it is 204 again."""
    by = caller(request)
    await use_cases(request).delete_post(known_post(post_id), by)


@get(
    "/posts/{post_id:str}/original",
    operation_id="getOriginal",
    summary="The untouched upload",
    responses=answers(
        {
            200: bytes_of("image/*", "The file as it was uploaded."),
            206: bytes_of("image/*", "The range that was asked for."),
            302: nothing("Where it is, for some minutes (AWS)."),
            304: nothing("You have it already."),
        },
        IdentityRequiredError,
        NotYoursError,
        PostNotFoundError,
        ImageNotFoundError,
        RangeNotSatisfiableError,
    ),
)
async def get_original(request: AnyRequest, post_id: FromPath[str]) -> FileReply:
    """For the post's creator only: it still holds all metadata, such as where it was taken."""
    file = await use_cases(request).read_picture.original(known_post(post_id), caller(request))
    return file_reply(request, file, await _media_type(file), PRIVATE)


async def _media_type(file: StoredFile | RemoteFile) -> str:
    """By the content; a file elsewhere says it itself."""
    found = None if isinstance(file, RemoteFile) else sniff(await file.read(0, SNIFF_BYTES))
    return found or "application/octet-stream"


ROUTES = [create_post, list_posts, get_post, edit_post, delete_post, get_original]
