"""Routes for reports of posts and comments, and their JSON bodies."""

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery, JSONBody

from image_poster.domain import errors
from image_poster.domain.limits import FEED_PAGE_DEFAULT
from image_poster.domain.moderation import Reason, Report, Subject
from image_poster.domain.signing import Page
from image_poster.http import openapi, requests, responses
from image_poster.http.auth import identify_writer, require_identity
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


PAGE_ERRORS = (errors.InvalidCursorError, errors.ValidationFailedError)


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


ROUTES = (create_report, list_own_reports)
