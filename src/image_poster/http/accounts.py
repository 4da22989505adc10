"""Routes for the caller's account: blocks, the caller's own comments, and the deletion of the
account."""

from http import HTTPStatus
from urllib.parse import quote, unquote

import msgspec
from litestar import MediaType, Response, delete, get, put
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, FromQuery

from image_poster.domain import errors
from image_poster.domain.limits import FEED_PAGE_DEFAULT
from image_poster.http import openapi, requests, responses
from image_poster.http.auth import identify_writer, require_identity
from image_poster.http.comments import CommentPageBody, comment_body

_BLOCKS = "/me/blocks/"


class BlockBody(msgspec.Struct, frozen=True):
    """A user whom the caller blocks."""

    user: str
    created_at: str


class BlockPageBody(msgspec.Struct, frozen=True):
    """A page of blocks by the user's name; `next` is the cursor of the following one."""

    blocks: list[BlockBody]
    next: str | None


class AccountDeletion(msgspec.Struct, frozen=True):
    """The confirmation of a deletion: the caller's user name, as `GET /me` shows it in `user`."""

    confirm: str


_PAGE_ERRORS = (errors.InvalidCursorError, errors.ValidationFailedError)
_NO_STORE = {"cache-control": responses.NO_STORE}


@get(
    "/me/blocks",
    **openapi.identified(
        "accounts", {200: openapi.response("A page.", BlockPageBody)}, _PAGE_ERRORS
    ),
)
async def list_blocks(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """The users whom the caller blocks, by name."""
    caller, accounts = await require_identity(request), requests.services(request).accounts
    page = await accounts.blocked_users(caller.user, limit=limit, cursor=cursor)
    bodies = [msgspec.json.encode(BlockBody(*block)) for block in page.items]
    body = responses.page_body("blocks", bodies, page.next)
    return responses.json_response(body, headers=_NO_STORE)


@put(
    "/me/blocks/{user:path}",
    **openapi.writer(
        "accounts",
        {204: openapi.response("The user is blocked.")},
        *(errors.TooManyBlocksError, errors.ValidationFailedError),
    ),
    status_code=HTTPStatus.NO_CONTENT,
)
async def block_user(request: requests.AnyRequest, user: FromPath[str]) -> None:
    """Block a user.

    Neither of the two may comment on the other's posts from then on, and `GET /me/feed` omits the
    blocked user. A repeated request gets 204 again.
    """
    del user  # decoded, with its slashes joined
    caller = await identify_writer(request, while_banned=True)
    await requests.services(request).accounts.block(caller.user, _user(request))


@delete(
    "/me/blocks/{user:path}",
    **openapi.writer(
        "accounts",
        {204: openapi.response("The user is not blocked.")},
        errors.ValidationFailedError,
    ),
)
async def unblock_user(request: requests.AnyRequest, user: FromPath[str]) -> None:
    """End a block.

    A repeated request gets 204 again.
    """
    del user  # decoded, with its slashes joined
    caller = await identify_writer(request, while_banned=True)
    await requests.services(request).accounts.unblock(caller.user, _user(request))


def _user(request: requests.AnyRequest) -> str:
    """The user's name in the path, in which a slash is `%2F`. Raises `ValidationFailedError`."""
    scope = request.scope
    # API Gateway passes on the decoded path alone.
    raw = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    try:
        return unquote(raw.partition(_BLOCKS)[2], errors="strict")
    except UnicodeDecodeError as exc:
        raise errors.invalid("user", "must be UTF-8, percent-encoded") from exc


@get(
    "/me/comments",
    **openapi.identified(
        "accounts", {200: openapi.response("A page.", CommentPageBody)}, _PAGE_ERRORS
    ),
)
async def list_own_comments(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """The caller's comments on all posts, newest first."""
    caller, accounts = await require_identity(request), requests.services(request).accounts
    page = await accounts.comments(caller.user, limit=limit, cursor=cursor)
    body = responses.page_body("comments", list(map(comment_body, page.items)), page.next)
    return responses.json_response(body, headers=_NO_STORE)


_CONFIRMATION = Schema(
    type=OpenAPIType.OBJECT, required=["confirm"], properties={"confirm": openapi.TEXT}
)


@delete(
    "/me",
    **openapi.writer(
        "accounts",
        {202: openapi.response("All data of the account is being deleted.")},
        *(openapi.JSON_BODY, openapi.body_of({"application/json": _CONFIRMATION}, required=True)),
    ),
    status_code=HTTPStatus.ACCEPTED,
    request_max_body_size=None,
)
async def delete_account(request: requests.AnyRequest) -> Response[bytes]:
    """Delete the account with all its data.

    After the response, no response shows the user's posts, images, comments, reports or blocks.
    Writes get 403 `account_deleted` until all data is gone. Then the user may write again, and
    begins with nothing.
    """
    caller = await require_identity(request)
    services = requests.services(request)
    await services.user_limits.count_write(caller)
    await services.accounts.delete(caller.user, await _confirmation(request))
    return Response(
        b"", status_code=HTTPStatus.ACCEPTED, media_type=MediaType.TEXT, headers=_NO_STORE
    )


async def _confirmation(request: requests.AnyRequest) -> str:
    """The confirmation in the body. Without a body it is missing, whatever the media type. Raises
    `ValidationFailedError`, `InvalidJsonError`, `BodyTooLargeError` and
    `UnsupportedMediaTypeError`."""
    body = await requests.json_body(request)
    if not body:
        raise errors.invalid("confirm", "is required: your user name")
    requests.check_json(request)
    return requests.decoded(body, AccountDeletion).confirm


ROUTES = (
    list_blocks,
    block_user,
    unblock_user,
    list_own_comments,
    delete_account,
)
