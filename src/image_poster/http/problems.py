"""Errors as problem details (RFC 9457): the only module that turns errors into responses."""

from collections.abc import Collection
from http import HTTPStatus
from typing import cast

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException
from litestar.types import ExceptionHandlersMap
from msgspec import UNSET, UnsetType

from image_poster.domain import errors
from image_poster.domain.errors import FieldError
from image_poster.domain.feed import FeedSort
from image_poster.domain.moderation import COMMENT_ACTIONS, POST_ACTIONS, USER_ACTIONS, Reason
from image_poster.domain.posts import UNFINISHED_POSTS, PostStatus
from image_poster.http.requests import AnyRequest, ClientGoneError, broken_rule, in_json_words
from image_poster.tus import VERSION

MEDIA_TYPE = "application/problem+json"
# Not an official status: what nginx writes into its log when the client has gone.
CLIENT_CLOSED_REQUEST = 499

_log = structlog.get_logger()
_LITESTAR_SAYS_GONE = "client disconnected prematurely"
# Litestar's own errors, by their status.
_FRAMEWORK_ERRORS = {
    400: errors.InvalidRequestError,
    404: errors.RouteNotFoundError,
    405: errors.MethodNotAllowedError,
    413: errors.BodyTooLargeError,
}
# A status of the tus protocol, which is in no registry.
_TITLES = {460: "Checksum Mismatch"}


class Problem(msgspec.Struct, frozen=True):
    """Problem details (RFC 9457). `code` is stable; `detail` says what to do; `errors` names
    fields. `reason` and `until` are those of a ban; `until` null is for good."""

    title: str
    status: int
    code: str
    detail: str
    request_id: str
    type: str = "about:blank"
    errors: tuple[FieldError, ...] | UnsetType = UNSET
    reason: str | UnsetType | None = UNSET
    until: str | UnsetType | None = UNSET


def problem_body(error: errors.ImagePosterError, request_id: str) -> bytes:
    """The JSON of the problem for `error`."""
    return msgspec.json.encode(
        Problem(
            title=_TITLES.get(error.status) or HTTPStatus(error.status).phrase,
            status=error.status,
            code=error.code,
            detail=error.detail,
            request_id=request_id,
            errors=error.errors if isinstance(error, errors.ValidationFailedError) else UNSET,
            reason=error.reason if isinstance(error, errors.BannedError) else UNSET,
            until=error.until if isinstance(error, errors.BannedError) else UNSET,
        )
    )


def render(request: AnyRequest, error: errors.ImagePosterError) -> Response[bytes]:
    """The response for one of the package's own errors."""
    if isinstance(error, errors.RateLimitedError):
        request.scope["state"]["limit"] = error.limit
    headers = {**problem_headers(error), **_headers(request, error)}
    if request.scope["path"].startswith("/uploads"):
        headers |= {"tus-resumable": VERSION, "tus-version": VERSION}
    return Response(
        problem_body(error, request.scope["state"].get("request_id", "")),
        status_code=error.status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def _headers(request: AnyRequest, error: errors.ImagePosterError) -> dict[str, str]:
    """The headers that HTTP requires for some statuses."""
    if isinstance(error, errors.IdentityRequiredError):  # RFC 9110 section 15.5.2
        challenge = request.app.state.authenticator.challenge(request, error.detail)
        return {"www-authenticate": challenge}
    if isinstance(error, errors.RangeNotSatisfiableError):
        return {"content-range": f"bytes */{error.size}"}
    return {}


def problem_headers(error: errors.ImagePosterError) -> dict[str, str]:
    """The headers of every problem: no cache may give it to somebody else. Retry-After (RFC 9110
    section 10.2.3), and the limit that was reached (draft-ietf-httpapi-ratelimit-headers-10)."""
    headers = {"cache-control": "no-store"}
    if error.retry_after is None:
        return headers
    headers["retry-after"] = str(error.retry_after)
    if isinstance(error, errors.RateLimitedError):
        window = f";w={error.window}" if error.window else ""
        headers["ratelimit-policy"] = f'"{error.limit}";q={error.quota}{window}'
        headers["ratelimit"] = f'"{error.limit}";r=0;t={error.retry_after}'
    return headers


def _render_framework(request: AnyRequest, exc: HTTPException) -> Response[bytes]:
    """Convert Litestar's own errors (unknown route, invalid query, invalid body) to problem
    details."""
    if exc.detail == _LITESTAR_SAYS_GONE:
        return _note_gone(request, ClientGoneError())
    response = render(request, _translated(exc))
    if isinstance(exc, MethodNotAllowedException) and exc.headers:
        response.set_header("allow", allow(exc.headers["allow"].split(", ")))
    return response


def allow(methods: Collection[str]) -> str:
    """The value of `Allow` (RFC 9110 section 10.2.1): these methods, OPTIONS, and HEAD with GET."""
    implied = {"OPTIONS", "HEAD"} if "GET" in methods else {"OPTIONS"}
    return ", ".join(sorted(implied.union(methods)))


def _render_unknown(request: AnyRequest, exc: Exception) -> Response[bytes]:
    """Answer any other error as an internal one: the log has its text, the response does not."""
    _log.error("request failed", path=request.scope["path"], exc_info=exc)
    return render(request, errors.InternalError())


def _translated(exc: HTTPException) -> errors.ImagePosterError:
    if isinstance(exc, ValidationException):
        details = cast("list[dict[str, str]]", exc.extra or [])
        return errors.ValidationFailedError(*(_field_error(item) for item in details))
    if exc.status_code not in _FRAMEWORK_ERRORS:
        raise exc
    return _FRAMEWORK_ERRORS[exc.status_code]()


# Parameters that are one of a few words.
_CHOICES: dict[str, list[str]] = {
    "sort": list(FeedSort),
    "status": [*PostStatus, UNFINISHED_POSTS],
    "reason": list(Reason),
    "action": sorted(POST_ACTIONS | COMMENT_ACTIONS | USER_ACTIONS),
}


def _field_error(item: dict[str, str]) -> FieldError:
    field, message = item.get("key", "body"), item["message"]
    if field == "data":
        error = broken_rule("is required" if message == "'data'" else message)
    else:
        error = FieldError(field, in_json_words(message.partition(", got `")[0]))  # always a text
    if error.field in _CHOICES and error.detail.startswith("Invalid enum value"):
        return FieldError(error.field, f"must be {' or '.join(_CHOICES[error.field])}")
    return error


def _note_gone(request: AnyRequest, _exc: ClientGoneError) -> Response[bytes]:
    """Record that the client went away; only the metrics use the status."""
    _log.info("client went away", path=request.scope["path"])
    return Response(b"", status_code=CLIENT_CLOSED_REQUEST)


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    ClientGoneError: _note_gone,
    errors.ImagePosterError: render,
    HTTPException: _render_framework,
    Exception: _render_unknown,
}
