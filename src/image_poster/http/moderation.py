"""Routes for the moderation queue, decisions and appeals, and their JSON bodies."""

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from image_poster.domain import errors
from image_poster.domain.decisions import DecisionOrder
from image_poster.domain.idempotency import Answer
from image_poster.domain.limits import FEED_PAGE_DEFAULT
from image_poster.domain.moderation import (
    Action,
    Appeal,
    AppealedDecision,
    Decision,
    EntryKind,
    QueueEntry,
    Reason,
    Report,
    Subject,
)
from image_poster.domain.posts import StoredPost, is_withheld
from image_poster.domain.signing import Page
from image_poster.http import openapi, requests, responses
from image_poster.http.accounts import (
    checked_comment_id,
    created_or_known,
    private_page,
    report_body,
)
from image_poster.http.auth import identify_writer, require_identity
from image_poster.http.comments import CommentBody, comment_body
from image_poster.http.openapi import PAGE_ERRORS
from image_poster.http.post_bodies import (
    ADMIN_IMAGES,
    AppealBody,
    CreatedPostBody,
    PrivateView,
    appeal_body,
    post_body,
    private_post_body,
)
from image_poster.services.moderation import EntryContent, ModerationRenderers


class DecisionRequest(msgspec.Struct, frozen=True):
    """A decision about a post, a comment (both ids) or a user. `until` is the end of a ban (RFC
    3339). `block_image` blocks images like that of the deleted post."""

    action: Action
    post_id: str | None = None
    comment_id: str | None = None
    user: str | None = None
    reason: Reason | None = None
    text: str | None = None
    until: str | None = None
    block_image: bool = False


class DecisionBody(msgspec.Struct, frozen=True):
    """An entry of the log of decisions. `by` is an admin or `service`; `reason` is a reason of
    reports, or the code of a failure."""

    id: str
    by: str
    action: Action
    post_id: str | None
    comment_id: str | None
    user: str | None
    reason: str | None
    text: str | None
    until: str | None
    created_at: str


class DecisionPageBody(msgspec.Struct, frozen=True):
    """A page of the log; `next` is the cursor of the following one."""

    decisions: list[DecisionBody]
    next: str | None


class OwnDecisionBody(DecisionBody, frozen=True, kw_only=True):
    """A decision about the caller's content or account, and the caller's appeal."""

    appeal: AppealBody | None


class OwnDecisionPageBody(msgspec.Struct, frozen=True):
    """A page of decisions about the caller; `next` is the cursor of the following one."""

    decisions: list[OwnDecisionBody]
    next: str | None


class ReporterBody(msgspec.Struct, frozen=True):
    """A report as admins see it. `reporter` is null once that account is deleted."""

    reporter: str | None
    reason: Reason
    text: str | None
    created_at: str


class EntryAppealBody(msgspec.Struct, frozen=True):
    """An appeal that waits for a decision, and the decision that it is against."""

    text: str
    created_at: str
    decision: DecisionBody | None


class MatchBody(msgspec.Struct, frozen=True):
    """The blocked image that an image matched: a line of the list, or a decision."""

    line: int | None
    decision: str | None


class EntryBody(msgspec.Struct, frozen=True):
    """An open entry of the moderation queue. `reports` and `reasons` count open reports; `latest`
    has the newest five. Members that do not apply are null, and so are `post` and `comment` of
    content that is gone: `post_id` and `comment_id` name it still."""

    kind: EntryKind
    post_id: str | None
    comment_id: str | None
    post: CreatedPostBody | None
    comment: CommentBody | None
    user: str | None
    reports: int
    reasons: dict[str, int]
    latest: list[ReporterBody]
    appeal: EntryAppealBody | None
    match: MatchBody | None
    since: str


class QueueBody(msgspec.Struct, frozen=True):
    """A page of the moderation queue; `next` is the cursor of the following one."""

    entries: list[EntryBody]
    next: str | None


class AppealText(msgspec.Struct, frozen=True):
    """The text of an appeal."""

    text: str


class NewAppealBody(msgspec.Struct, frozen=True):
    """An appeal that was made."""

    text: str
    created_at: str


def _decision_members(decision: Decision) -> dict[str, object]:
    members = {name: getattr(decision, name) for name in DecisionBody.__struct_fields__}
    return {**members, "text": decision.text or None}


def decision_body(decision: Decision) -> bytes:
    """The JSON of a `DecisionBody`."""
    return msgspec.json.encode(msgspec.convert(_decision_members(decision), DecisionBody))


def own_decision_body(appealed: AppealedDecision) -> bytes:
    """The JSON of an `OwnDecisionBody`."""
    members = _decision_members(appealed.decision)
    appeal = appeal_body(appealed.appeal)
    return msgspec.json.encode(msgspec.convert({**members, "appeal": appeal}, OwnDecisionBody))


def new_appeal_body(appeal: Appeal) -> bytes:
    """The JSON of a `NewAppealBody`."""
    return msgspec.json.encode(NewAppealBody(appeal.text, appeal.created_at))


RENDERERS = ModerationRenderers(report_body, decision_body, new_appeal_body)


def entry_body(content: EntryContent) -> bytes:
    """The JSON of an `EntryBody`."""
    entry, post, comment = content
    match = entry.match
    return msgspec.json.encode(
        {
            "kind": entry.kind,
            "post_id": entry.subject.post_id,
            "comment_id": entry.subject.comment_id,
            "post": None if post is None else msgspec.Raw(_moderated_post_body(post)),
            "comment": None if comment is None else msgspec.Raw(comment_body(comment)),
            "user": entry.subject.user,
            "reports": entry.reports,
            "reasons": entry.reasons,
            "latest": [_reporter_body(report) for report in entry.latest],
            "appeal": _entry_appeal_body(entry),
            "match": None if match is None else MatchBody(match.line, match.decision),
            "since": entry.since,
        }
    )


def _entry_appeal_body(entry: QueueEntry) -> EntryAppealBody | None:
    appeal, appealed = entry.appeal, entry.appealed
    if appeal is None:
        return None
    decision = None
    if appealed is not None:
        decision = msgspec.convert(_decision_members(appealed), DecisionBody)
    return EntryAppealBody(appeal.text, appeal.created_at, decision)


def _moderated_post_body(stored: StoredPost) -> bytes:
    if is_withheld(stored.post):
        return private_post_body(stored, PrivateView(ADMIN_IMAGES))
    return post_body(stored)


def _reporter_body(report: Report) -> ReporterBody:
    return ReporterBody(
        report.reporter or None, report.reason, report.text or None, report.created_at
    )


@get(
    "/me/decisions",
    **openapi.identified(
        "moderation", {200: openapi.response("A page.", OwnDecisionPageBody)}, PAGE_ERRORS
    ),
)
async def list_own_decisions(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """The decisions about the caller's content and account, newest first."""
    caller, services = await require_identity(request), requests.services(request)
    page = await services.moderation.about(caller.user, limit=limit, cursor=cursor)
    return private_page("decisions", Page(list(map(own_decision_body, page.items)), page.next))


@post(
    "/me/decisions/{decision_id:str}/appeal",
    **openapi.json_writer(
        "moderation",
        {201: openapi.response("The appeal.", NewAppealBody)},
        *(openapi.KEYED, errors.DecisionNotFoundError),
        *(errors.AppealMadeError, errors.DecisionConflictError),
    ),
)
async def appeal(
    request: requests.AnyRequest, decision_id: FromPath[str], data: JSONBody[AppealText]
) -> Response[bytes]:
    """Appeal against a decision, once.

    The appeal becomes an entry of the moderation queue. Banned users may appeal too.
    """
    caller = await identify_writer(request, while_banned=True)
    key = requests.idempotency_key(request)
    checked_id = requests.require_id(decision_id, errors.DecisionNotFoundError)
    moderation = requests.services(request).moderation
    with requests.in_flight(request, caller, key):
        answer: Answer = await moderation.appeal(caller, checked_id, data.text, key)
    return responses.private_response(answer, responses.NO_STORE)


@get(
    "/moderation/queue",
    **openapi.admin("moderation", {200: openapi.response("A page.", QueueBody)}, PAGE_ERRORS),
)
async def list_queue(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """The open entries of the moderation queue, oldest first."""
    page = await requests.services(request).moderation.queue(limit=limit, cursor=cursor)
    entries = Page(list(map(entry_body, page.items)), page.next)
    return private_page("entries", entries, responses.PRIVATE)


@post(
    "/moderation/decisions",
    **openapi.json_admin(
        "moderation",
        {
            201: openapi.response("The decision.", DecisionBody),
            200: openapi.response("The same decision, which is in force.", DecisionBody),
        },
        *(openapi.KEYED, errors.BannedError, errors.DecisionConflictError),
        *(errors.PostNotFoundError, errors.CommentNotFoundError),
    ),
)
async def decide(request: requests.AnyRequest, data: JSONBody[DecisionRequest]) -> Response[bytes]:
    """Decide about a post, a comment or a user.

    The decision closes the subject's open entries of the queue, except that `dismiss` leaves a post
    in review. Repeating the decision in force changes nothing.
    """
    admin = await identify_writer(request)
    key, moderation = requests.idempotency_key(request), requests.services(request).moderation
    with requests.in_flight(request, admin, key):
        result = await moderation.decide(admin, _order(data), key)
    return created_or_known(result, responses.PRIVATE)


def _order(data: DecisionRequest) -> DecisionOrder:
    post_id = None if data.post_id is None else requests.require_id(data.post_id)
    return DecisionOrder(
        Subject(post_id, checked_comment_id(data.comment_id), data.user),
        data.action,
        data.reason,
        data.text or "",
        data.until,
        data.block_image,
    )


@get(
    "/moderation/decisions",
    **openapi.admin(
        "moderation", {200: openapi.response("A page.", DecisionPageBody)}, PAGE_ERRORS
    ),
)
async def list_decisions(
    request: requests.AnyRequest,
    limit: requests.PageLimit = FEED_PAGE_DEFAULT,
    cursor: FromQuery[str | None] = None,
) -> Response[bytes]:
    """The log of decisions, newest first.

    It also has the edits and deletions by admins at the endpoints of posts and comments.
    """
    page = await requests.services(request).moderation.log(limit=limit, cursor=cursor)
    decisions = Page(list(map(decision_body, page.items)), page.next)
    return private_page("decisions", decisions, responses.PRIVATE)


ROUTES = (
    list_own_decisions,
    appeal,
    list_queue,
    decide,
    list_decisions,
)
