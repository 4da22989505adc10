"""Routes for comments."""

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from image_poster.domain import errors
from image_poster.domain.comments import COMMENT_FORMAT, comment_tag, decode_comment, encode_comment
from image_poster.domain.ids import is_id
from image_poster.domain.limits import FEED_PAGE_DEFAULT
from image_poster.http import openapi, requests, responses
from image_poster.http.auth import check_viewer, optional_identity
from image_poster.http.idempotency import idempotency_key, in_flight
from image_poster.http.limits import IDENTIFIED, IDENTIFIED_JSON, writer


class CommentBody(msgspec.Struct, frozen=True):
    """A comment as the API shows it."""

    id: str
    post_id: str
    creator: str
    content: str
    created_at: str
    edited_at: str | None
    creator_name: str


class CommentPageBody(msgspec.Struct, frozen=True):
    """A page of comments, newest first; `next` is the cursor of the following one."""

    comments: list[CommentBody]
    next: str | None


class CommentText(msgspec.Struct, frozen=True):
    """A comment to be written."""

    content: str


class CommentOnPost(msgspec.Struct, frozen=True):
    """A comment to be written, and the post it is for."""

    post_id: str
    content: str


def convert_comment(document: bytes) -> bytes:
    """Decode a comment's document that is not in the current wire format, and convert it to the
    body."""
    found = decode_comment(document)
    return msgspec.json.encode(msgspec.convert(found, CommentBody, from_attributes=True))


wire = responses.WireBodies(COMMENT_FORMAT, convert_comment)


def comment_body(document: bytes) -> bytes:
    """The JSON of a `CommentBody`, from a stored document."""
    return wire.body(document)


_WRITE_ERRORS = (
    errors.IdentityRequiredError,
    errors.PostNotFoundError,
    errors.StorageFullError,
    errors.BusyError,
)
_BODY_ERRORS = (
    errors.InvalidJsonError,
    errors.BodyTooLargeError,
    errors.UnsupportedMediaTypeError,
    errors.ValidationFailedError,
)
_ADD = openapi.responses(
    {201: openapi.json_of(CommentBody, "The comment; Location points at it.")},
    *_WRITE_ERRORS,
    *_BODY_ERRORS,
    errors.PostNotReadyError,
    errors.IdempotencyKeyReusedError,
    errors.RequestInProgressError,
    errors.GoneError,
)


@post(
    "/posts/{post_id:str}/comments",
    operation_id="addComment",
    operation_class=openapi.operation(openapi.IDEMPOTENCY_KEY),
    **IDENTIFIED_JSON,
    tags=["comments"],
    summary="Comment on a post",
    request_max_body_size=requests.JSON_MAX_BYTES,
    responses=_ADD,
)
async def add_comment(
    request: requests.AnyRequest, post_id: FromPath[str], data: JSONBody[CommentText]
) -> Response[bytes]:
    """On a ready post. With the header `Idempotency-Key` a repeated request is answered as the
    first one was."""
    return await _add(request, post_id, data.content)


@post(
    "/comments",
    operation_id="addCommentByBody",
    operation_class=openapi.operation(openapi.IDEMPOTENCY_KEY),
    **IDENTIFIED_JSON,
    tags=["comments"],
    summary="Comment on a post (the former path)",
    request_max_body_size=requests.JSON_MAX_BYTES,
    responses=_ADD,
)
async def add_comment_by_body(
    request: requests.AnyRequest, data: JSONBody[CommentOnPost]
) -> Response[bytes]:
    """The same as `POST /posts/{post_id}/comments`."""
    return await _add(request, data.post_id, data.content)


async def _add(request: requests.AnyRequest, post_id: str, content: str) -> Response[bytes]:
    author, key = await writer(request), idempotency_key(request)
    with in_flight(request).running(author, key):
        comments = requests.services(request).comments
        return responses.created_response(
            await comments.add(requests.require_post_id(post_id), author, content, key)
        )


@get(
    "/posts/{post_id:str}/comments",
    operation_id="listComments",
    security=openapi.ANYONE,
    tags=["comments"],
    summary="A post's comments",
    responses=openapi.responses(
        {
            200: openapi.json_of(CommentPageBody, "A page."),
            304: openapi.nothing("You have this page already."),
        },
        errors.InvalidCursorError,
        errors.PostNotFoundError,
        errors.ValidationFailedError,
    ),
)
async def list_comments(
    request: requests.AnyRequest,
    post_id: FromPath[str],
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """Newest first, and the same for every caller. Go on with `next`."""
    page = await requests.services(request).comments.list(
        requests.require_post_id(post_id), limit=limit, cursor=cursor
    )
    shown = b",".join(map(comment_body, page.items))
    following = msgspec.json.encode(page.next)
    return responses.conditional_json(request, b'{"comments":[%b],"next":%b}' % (shown, following))


@get(
    "/posts/{post_id:str}/comments/{comment_id:str}",
    operation_id="getComment",
    security=openapi.ANYONE,
    tags=["comments"],
    summary="One comment",
    before_request=check_viewer,
    responses=openapi.responses(
        {
            200: openapi.json_of(CommentBody, "The comment."),
            304: openapi.nothing("You have it already."),
        },
        errors.IdentityRequiredError,
        errors.PostNotFoundError,
        errors.CommentNotFoundError,
    ),
)
async def get_comment(
    request: requests.AnyRequest, post_id: FromPath[str], comment_id: FromPath[str]
) -> Response[bytes]:
    """For whoever may see its post."""
    document = await requests.services(request).comments.get(
        requests.require_post_id(post_id),
        _known_comment(comment_id),
        await optional_identity(request),
    )
    return responses.versioned_json(
        request, comment_body(document), comment_tag(decode_comment(document))
    )


@patch(
    "/posts/{post_id:str}/comments/{comment_id:str}",
    operation_id="editComment",
    operation_class=openapi.operation(openapi.IF_MATCH),
    **IDENTIFIED_JSON,
    tags=["comments"],
    summary="Change a comment",
    request_max_body_size=requests.JSON_MAX_BYTES,
    responses=openapi.responses(
        {200: openapi.json_of(CommentBody, "The comment as it is now.")},
        *_WRITE_ERRORS,
        *_BODY_ERRORS,
        errors.NotYoursError,
        errors.CommentNotFoundError,
        errors.EditConflictError,
    ),
)
async def edit_comment(
    request: requests.AnyRequest,
    post_id: FromPath[str],
    comment_id: FromPath[str],
    data: JSONBody[CommentText],
) -> Response[bytes]:
    """For its author. With `If-Match`, only if nobody has edited it since."""
    editor, ids = (
        await writer(request),
        (requests.require_post_id(post_id), _known_comment(comment_id)),
    )
    comment = await requests.services(request).comments.edit(
        *ids, editor, data.content, expected=responses.expected_tags(request)
    )
    body = comment_body(encode_comment(comment))
    return responses.json_response(
        body, headers={"etag": responses.versioned_etag(body, comment_tag(comment))}
    )


@delete(
    "/posts/{post_id:str}/comments/{comment_id:str}",
    operation_id="deleteComment",
    **IDENTIFIED,
    tags=["comments"],
    summary="Delete a comment",
    responses=openapi.responses(
        {204: openapi.nothing("Gone.")},
        *_WRITE_ERRORS,
        errors.NotYoursError,
        errors.CommentNotFoundError,
    ),
)
async def delete_comment(
    request: requests.AnyRequest, post_id: FromPath[str], comment_id: FromPath[str]
) -> None:
    """For its author, the post's creator or an admin; repeating it is 204 again."""
    by = await writer(request)
    await requests.services(request).comments.delete(
        requests.require_post_id(post_id), _known_comment(comment_id), by
    )


def _known_comment(comment_id: str) -> str:
    if not is_id(comment_id):
        raise errors.CommentNotFoundError
    return comment_id


ROUTES = (
    add_comment,
    add_comment_by_body,
    list_comments,
    get_comment,
    edit_comment,
    delete_comment,
)
