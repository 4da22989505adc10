"""Routes for the caller's account: reports of posts and comments, blocks, the caller's own
comments, and the deletion of the account."""

from http import HTTPStatus
from urllib.parse import quote, unquote

import msgspec
from litestar import MediaType, Response, delete, get, post, put
from litestar.openapi.spec import Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, FromQuery, JSONBody

from image_poster.domain import errors
from image_poster.domain.limits import FEED_PAGE_DEFAULT
from image_poster.domain.moderation import Reason, Report, Subject
from image_poster.domain.signing import Page
from image_poster.http import openapi, requests, responses
from image_poster.http.auth import identify_writer, require_identity
from image_poster.http.comments import CommentPageBody, comment_body
from image_poster.http.openapi import PAGE_ERRORS
from image_poster.services.moderation import ModerationAnswer


class ReportOrder(msgspec.Struct, frozen=True):
    """A report of a post, or of a comment on it."""

    post_id: str
    reason: Reason
    comment_id: str | None = None
    text: str | None = None


class ReportBody(msgspec.Struct, frozen=True):
    """A report as its reporter sees it. `status` is `open` or `closed`; `outcome` is then `hidden`,
    `deleted` or `dismissed`."""

    id: str
    post_id: str
    comment_id: str | None
    reason: Reason
    text: str | None
    created_at: str
    status: str
    outcome: str | None


class ReportPageBody(msgspec.Struct, frozen=True):
    """A page of reports; `next` is the cursor of the following one."""

    reports: list[ReportBody]
    next: str | None


def report_body(report: Report) -> bytes:
    """The JSON of a `ReportBody`."""
    return msgspec.json.encode(
        ReportBody(
            report.id,
            report.post_id,
            report.comment_id,
            report.reason,
            report.text or None,
            report.created_at,
            "open" if report.outcome is None else "closed",
            report.outcome,
        )
    )


@post(
    "/reports",
    **openapi.json_writer(
        "reports",
        {
            201: openapi.response("The report.", ReportBody),
            200: openapi.response("The caller's open report of the same subject.", ReportBody),
        },
        *(openapi.KEYED, errors.BannedError, errors.PostNotFoundError, errors.CommentNotFoundError),
    ),
)
async def create_report(
    request: requests.AnyRequest, data: JSONBody[ReportOrder]
) -> Response[bytes]:
    """Report a post or a comment.

    While the caller has an open report of the same subject, the answer is that one. `GET
    /me/reports` shows the outcome.
    """
    reporter, key = await identify_writer(request), requests.idempotency_key(request)
    subject = Subject(requests.require_id(data.post_id), checked_comment_id(data.comment_id))
    reports = requests.services(request).reports
    with requests.in_flight(request, reporter, key):
        result = await reports.report(reporter, subject, data.reason, data.text or "", key)
    return created_or_known(result, responses.NO_STORE)


def checked_comment_id(comment_id: str | None) -> str | None:
    """The id of a comment in a body, if there is one. Raises `CommentNotFoundError`."""
    if comment_id is None:
        return None
    return requests.require_id(comment_id, errors.CommentNotFoundError)


def created_or_known(result: ModerationAnswer, cache_control: str) -> Response[bytes]:
    """A 201 response for something new, a 200 for something that was there."""
    status = 201 if result.is_new else 200
    return responses.private_response(result.answer, cache_control, status=status)


@get(
    "/me/reports",
    **openapi.identified(
        "reports", {200: openapi.response("A page.", ReportPageBody)}, PAGE_ERRORS
    ),
)
async def list_own_reports(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """The caller's reports, newest first, with their outcomes."""
    caller, services = await require_identity(request), requests.services(request)
    page = await services.reports.page(caller.user, limit=limit, cursor=cursor)
    return private_page("reports", Page(list(map(report_body, page.items)), page.next))


def private_page(
    name: str, page: Page[bytes, str], cache_control: str = responses.NO_STORE
) -> Response[bytes]:
    """The response with a page of encoded items, which no cache may store."""
    body = responses.page_body(name, page.items, page.next)
    return responses.json_response(body, headers={"cache-control": cache_control})


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


_NO_STORE = {"cache-control": responses.NO_STORE}


@get(
    "/me/blocks",
    **openapi.identified(
        "accounts", {200: openapi.response("A page.", BlockPageBody)}, openapi.PAGE_ERRORS
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
    return private_page("blocks", Page(bodies, page.next))


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
        "accounts", {200: openapi.response("A page.", CommentPageBody)}, openapi.PAGE_ERRORS
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
    return private_page("comments", Page(list(map(comment_body, page.items)), page.next))


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
    create_report,
    list_own_reports,
    list_blocks,
    block_user,
    unblock_user,
    list_own_comments,
    delete_account,
)
