"""Routes for comments."""

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import FromPath, FromQuery, JSONBody

from image_poster.domain import errors
from image_poster.domain.comments import COMMENT_FORMAT, comment_tag, decode_comment, encode_comment
from image_poster.domain.limits import FEED_PAGE_DEFAULT
from image_poster.http import openapi, requests, responses
from image_poster.http.auth import identify_counted_writer, identify_writer, optional_identity


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
    comment = decode_comment(document)
    return msgspec.json.encode(msgspec.convert(comment, CommentBody, from_attributes=True))


wire = responses.WireBodies(COMMENT_FORMAT, convert_comment)


def comment_body(document: bytes) -> bytes:
    """The JSON of a `CommentBody`, from a stored document."""
    return wire.body(document)


_ADDED = {201: openapi.response("The comment; Location has its path.", CommentBody)}
_ADD_ERRORS = (
    *(errors.PostNotFoundError, errors.PostNotReadyError, errors.BlockedError),
    errors.BannedError,
)
_FIND_ERRORS = (errors.PostNotFoundError, errors.CommentNotFoundError)


@post(
    "/posts/{post_id:str}/comments",
    **openapi.json_writer("comments", _ADDED, openapi.KEYED, _ADD_ERRORS),
)
async def add_comment(
    request: requests.AnyRequest, post_id: FromPath[str], data: JSONBody[CommentText]
) -> Response[bytes]:
    """Comment on a post.

    The post must be ready. With the header `Idempotency-Key` a repeated request gets the first
    one's answer.
    """
    return await _add(request, post_id, data.content)


@post("/comments", **openapi.json_writer("comments", _ADDED, openapi.KEYED, _ADD_ERRORS))
async def add_comment_by_body(
    request: requests.AnyRequest, data: JSONBody[CommentOnPost]
) -> Response[bytes]:
    """Comment on a post (the former path).

    The same as `POST /posts/{post_id}/comments`.
    """
    return await _add(request, data.post_id, data.content)


async def _add(request: requests.AnyRequest, post_id: str, content: str) -> Response[bytes]:
    author, key = await identify_counted_writer(request), requests.idempotency_key(request)
    with requests.in_flight(request, author, key):
        comments = requests.services(request).comments
        answer = await comments.add(requests.require_id(post_id), author, content, key)
    return responses.created_response(answer)


@get(
    "/posts/{post_id:str}/comments",
    **openapi.anyone(
        "comments",
        openapi.cached("A page.", CommentPageBody),
        *(errors.InvalidCursorError, errors.PostNotFoundError, errors.ValidationFailedError),
    ),
)
async def list_comments(
    request: requests.AnyRequest,
    post_id: FromPath[str],
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """A post's comments.

    Newest first, and the same for every caller. The next page: pass `next` as `cursor`.
    """
    comments = requests.services(request).comments
    page = await comments.list(requests.require_id(post_id), limit=limit, cursor=cursor)
    body = responses.page_body("comments", list(map(comment_body, page.items)), page.next)
    return responses.tagged_json(request.headers, body, responses.etag_of(body))


@get(
    "/posts/{post_id:str}/comments/{comment_id:str}",
    **openapi.viewer("comments", openapi.cached("The comment.", CommentBody), _FIND_ERRORS),
)
async def get_comment(
    request: requests.AnyRequest, post_id: FromPath[str], comment_id: FromPath[str]
) -> Response[bytes]:
    """One comment.

    For every caller who may see its post.
    """
    ids, viewer = _checked_ids(post_id, comment_id), await optional_identity(request)
    document, is_public = await requests.services(request).comments.get(*ids, viewer)
    body, tag = comment_body(document), comment_tag(decode_comment(document))
    headers = {} if is_public else {"cache-control": responses.PRIVATE}
    etag = responses.versioned_etag(body, tag)
    return responses.tagged_json(request.headers, body, etag, headers)


@patch(
    "/posts/{post_id:str}/comments/{comment_id:str}",
    **openapi.json_writer(
        "comments",
        {200: openapi.response("The comment as it is now.", CommentBody)},
        *(openapi.EDIT, errors.BannedError, errors.BlockedError, _FIND_ERRORS),
    ),
)
async def edit_comment(
    request: requests.AnyRequest,
    post_id: FromPath[str],
    comment_id: FromPath[str],
    data: JSONBody[CommentText],
) -> Response[bytes]:
    """Change a comment.

    For its author. With `If-Match`, only if the comment has not been edited since.
    """
    editor, ids = await identify_writer(request), _checked_ids(post_id, comment_id)
    comment = await requests.services(request).comments.edit(
        *ids, editor, data.content, expected=responses.expected_tags(request.headers)
    )
    return responses.edited_json(comment_body(encode_comment(comment)), comment_tag(comment))


@delete(
    "/posts/{post_id:str}/comments/{comment_id:str}",
    **openapi.writer(
        "comments", {204: openapi.response("Gone.")}, errors.NotYoursError, _FIND_ERRORS
    ),
)
async def delete_comment(
    request: requests.AnyRequest, post_id: FromPath[str], comment_id: FromPath[str]
) -> None:
    """Delete a comment.

    For its author, the post's creator or an admin. A repeated request gets 204 again.
    """
    caller = await identify_writer(request, while_banned=True)
    ids = _checked_ids(post_id, comment_id)
    await requests.services(request).comments.delete(*ids, caller)


def _checked_ids(post_id: str, comment_id: str) -> tuple[str, str]:
    """Raises `PostNotFoundError` or `CommentNotFoundError` for a text that cannot be an id."""
    return (
        requests.require_id(post_id),
        requests.require_id(comment_id, errors.CommentNotFoundError),
    )


ROUTES = (
    add_comment,
    add_comment_by_body,
    list_comments,
    get_comment,
    edit_comment,
    delete_comment,
)
