"""Comments."""

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from image_poster.domain.comments import Comment, encode_comment
from image_poster.domain.errors import (
    BodyTooLargeError,
    BusyError,
    CommentNotFoundError,
    IdempotencyKeyReusedError,
    IdentityRequiredError,
    InvalidCursorError,
    InvalidJsonError,
    NotYoursError,
    PostNotFoundError,
    PostNotReadyError,
    RequestInProgressError,
    StorageFullError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
)
from image_poster.domain.ids import is_id
from image_poster.domain.limits import FEED_PAGE_DEFAULT
from image_poster.http.auth import caller, viewer
from image_poster.http.bodies import JSON_MAX_BYTES, json_only
from image_poster.http.documents import CommentsBody, answers, json_of, nothing
from image_poster.http.repeats import created, idempotency_key, in_flight
from image_poster.http.replies import conditional_json, json_reply
from image_poster.http.requests import AnyRequest, PageLimit, known_post, use_cases

_ADD_ERRORS = (
    IdentityRequiredError,
    InvalidJsonError,
    PostNotFoundError,
    PostNotReadyError,
    BodyTooLargeError,
    UnsupportedMediaTypeError,
    ValidationFailedError,
    IdempotencyKeyReusedError,
    RequestInProgressError,
    StorageFullError,
    BusyError,
)
_CREATED = {201: json_of(Comment, "The comment; Location points at it.")}


class CommentText(msgspec.Struct, frozen=True):
    """A comment to be written."""

    content: str


class CommentOnPost(msgspec.Struct, frozen=True):
    """A comment to be written, and the post it is for."""

    post_id: str
    content: str


def _known_comment(comment_id: str) -> str:
    if not is_id(comment_id):
        raise CommentNotFoundError
    return comment_id


@post(
    "/posts/{post_id:str}/comments",
    operation_id="addComment",
    summary="Comment on a post",
    before_request=json_only,
    request_max_body_size=JSON_MAX_BYTES,
    responses=answers(_CREATED, *_ADD_ERRORS),
)
async def add_comment(
    request: AnyRequest, post_id: FromPath[str], data: JSONBody[CommentText]
) -> Response[bytes]:
    """On a ready post. With the header `Idempotency-Key` a repeated request is answered as the
    first one was."""
    return await _add(request, post_id, data.content)


@post(
    "/comments",
    operation_id="addCommentByBody",
    summary="Comment on a post (the former path)",
    before_request=json_only,
    request_max_body_size=JSON_MAX_BYTES,
    responses=answers(_CREATED, *_ADD_ERRORS),
)
async def add_comment_by_body(
    request: AnyRequest, data: JSONBody[CommentOnPost]
) -> Response[bytes]:
    """The same as `POST /posts/{post_id}/comments`."""
    return await _add(request, data.post_id, data.content)


async def _add(request: AnyRequest, post_id: str, content: str) -> Response[bytes]:
    author, key = caller(request), idempotency_key(request)
    with in_flight(request).running(author, key):
        return created(
            await use_cases(request).add_comment(known_post(post_id), author, content, key)
        )


@get(
    "/posts/{post_id:str}/comments",
    operation_id="listComments",
    summary="A post's comments",
    responses=answers(
        {200: json_of(CommentsBody, "A page."), 304: nothing("You have this page already.")},
        IdentityRequiredError,
        InvalidCursorError,
        PostNotFoundError,
        ValidationFailedError,
    ),
)
async def list_comments(
    request: AnyRequest,
    post_id: FromPath[str],
    limit: PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """Newest first. Go on with `next`."""
    page = await use_cases(request).list_comments(
        known_post(post_id), viewer(request), limit=limit, cursor=cursor
    )
    body = b'{"comments":[%b],"next":%b}' % (
        b",".join(page.comments),
        msgspec.json.encode(page.next),
    )
    return conditional_json(request, body)


@patch(
    "/posts/{post_id:str}/comments/{comment_id:str}",
    operation_id="editComment",
    summary="Change a comment",
    before_request=json_only,
    request_max_body_size=JSON_MAX_BYTES,
    responses=answers(
        {200: json_of(Comment, "The comment as it is now.")},
        IdentityRequiredError,
        InvalidJsonError,
        NotYoursError,
        PostNotFoundError,
        CommentNotFoundError,
        BodyTooLargeError,
        UnsupportedMediaTypeError,
        ValidationFailedError,
        StorageFullError,
        BusyError,
    ),
)
async def edit_comment(
    request: AnyRequest,
    post_id: FromPath[str],
    comment_id: FromPath[str],
    data: JSONBody[CommentText],
) -> Response[bytes]:
    """For its author."""
    editor = caller(request)
    comment = await use_cases(request).edit_comment(
        known_post(post_id), _known_comment(comment_id), editor, data.content
    )
    return json_reply(encode_comment(comment))


@delete(
    "/posts/{post_id:str}/comments/{comment_id:str}",
    operation_id="deleteComment",
    summary="Delete a comment",
    responses=answers(
        {204: nothing("Gone.")},
        IdentityRequiredError,
        NotYoursError,
        PostNotFoundError,
        CommentNotFoundError,
        StorageFullError,
        BusyError,
    ),
)
async def delete_comment(
    request: AnyRequest, post_id: FromPath[str], comment_id: FromPath[str]
) -> None:
    """For its author, the post's creator or an admin; repeating it is 204 again."""
    by = caller(request)
    await use_cases(request).delete_comment(known_post(post_id), _known_comment(comment_id), by)


ROUTES = [
    add_comment,
    add_comment_by_body,
    list_comments,
    edit_comment,
    delete_comment,
]
