"""The steps of the client's logic, and the retries of its requests with back-off.

The logic is generators of steps, and does no I/O over the network itself. Each client executes the
steps in its way, and sends the result of each step into the generator:

    Send     a request      ->  Reply, or ConnectionFailure.
    Pause    time to wait   ->  None.
"""

import random
import re
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from image_poster.client.results import GaveUpError, RefusedError, UserBannedError

# Too many requests; and the statuses of a service, or of something before it, that is not able to.
_TRANSIENT_STATUSES = {408, 425, 429, 500, 502, 503, 504, 507}
_CONFLICT, _UNAUTHORIZED = 409, 401
_TRANSIENT_CONFLICTS = {"request_in_progress", "upload_taken_over"}
# The back-off of a connection that broke begins so many doublings below `Policy.base`.
_BROKEN = -5
NO_SUCH_SERVICE = "the service does not answer as image-poster-api does"
_DESCRIPTION = re.compile(r'error_description="([^"]*)"')


class BodySink(Protocol):
    """Receives the body of an answer as it arrives."""

    def accepts(self, status: int, headers: Mapping[str, str]) -> bool:
        """Return True if `write` is to receive the body of this answer, else the `Reply` has it."""
        ...

    def write(self, chunk: bytes) -> None:
        """Receive the next bytes."""
        ...


class Send(NamedTuple):
    """A request. Its answer may take `seconds` longer than `Policy.silence`. `sent` is called with
    the number of body bytes passed to the network. The body of the answer goes to `sink`, if there
    is one that accepts it. `with_identity` is False for a request to another service, which must
    not see the caller's credentials."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""
    seconds: float = 0.0
    sent: Callable[[int], None] | None = None
    sink: BodySink | None = None
    with_identity: bool = True


class Pause(NamedTuple):
    """Wait for so many seconds."""

    seconds: float


class Reply(NamedTuple):
    """An answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class ConnectionFailure(NamedTuple):
    """No answer came; `reason` is for people. `reached`: there was a connection, which broke.
    `permanent`: a retry will not help."""

    reason: str
    reached: bool = True
    permanent: bool = False


Step: TypeAlias = Send | Pause
Outcome: TypeAlias = Reply | ConnectionFailure
Value = TypeVar("Value")
# The type of a result depends on the step, by the table above.
Steps: TypeAlias = Generator[Step, Any, Value]


class Policy(msgspec.Struct, frozen=True):
    """The settings of retries. Back-off is exponential with full jitter: from 0 to `base` seconds
    doubled with each failure in a row, at most `cap`. Source:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    That is for failures without progress. After progress, a broken connection is retried at once,
    and then after less than `base` at first, unless the service is down or busy.

    `patience` is the most seconds without progress; `first_patience` applies before the first
    answer, when the address may be wrong. After `silence` seconds without a byte, a connection
    counts as broken.
    """

    patience: float = 120.0
    first_patience: float = 30.0
    silence: float = 10.0
    base: float = 0.5
    cap: float = 20.0
    now: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    jitter: Callable[[float, float], float] = random.uniform


class Retries:
    """Counts one call's failures and waits between tries. `report_failure` receives the reason,
    and the seconds until the next try."""

    def __init__(
        self, policy: Policy, report_failure: Callable[[str, float], None] | None = None
    ) -> None:
        self._policy = policy
        self._report_failure = report_failure
        self._failures, self._at_once = _BROKEN, False
        self._answered = False
        self._since = policy.now()

    def record_progress(self) -> None:
        """Patience starts anew, and the next try is at once."""
        self._answered = True
        self._failures, self._at_once = _BROKEN, True
        self._since = self._policy.now()

    def exchange(self, request: Send) -> Steps[Reply]:
        """Send until the answer is not transient, and return it. Raises `GaveUpError`."""
        while True:
            outcome: Outcome = yield request
            if isinstance(outcome, Reply) and not is_transient(outcome):
                self._answered = True
                return outcome
            yield from self.pause(outcome)

    def pause(self, outcome: Outcome) -> Steps[None]:
        """Wait before the next try. Raises `GaveUpError` when patience would end before that, and
        for a permanent failure."""
        policy = self._policy
        self._answered |= isinstance(outcome, Reply)
        reason = failure_reason(outcome)
        if isinstance(outcome, ConnectionFailure) and outcome.permanent:
            raise GaveUpError(reason)
        wait = self._next_wait(outcome)
        patience = policy.patience if self._answered else policy.first_patience
        tried = policy.now() - self._since
        if tried + wait > patience:
            raise GaveUpError(f"{reason}; gave up after {tried:.0f} s without progress")
        if self._report_failure is not None:
            self._report_failure(reason, wait)
        yield Pause(wait)

    def _next_wait(self, outcome: Outcome) -> float:
        """Seconds until the next try. A Retry-After is followed by a random delay, since many
        clients got the same."""
        policy = self._policy
        at_once, self._at_once = self._at_once, False
        if isinstance(outcome, Reply):
            is_down, retry_after = is_transient(outcome), _retry_after(outcome)
        else:
            is_down, retry_after = not outcome.reached, 0.0
        if is_down:
            self._failures = max(self._failures, 0)
        elif at_once:
            return 0.0
        delay = policy.jitter(0, min(policy.cap, policy.base * 2**self._failures))
        self._failures += 1
        return delay + retry_after


# People wait for short calls; an upload may take its time.
_SHORT_CALL = Policy(patience=30.0, first_patience=3.0)


def exchange(request: Send) -> Steps[Reply]:
    """Send the request of a short call, which may be repeated, and return its answer. Raises
    `RefusedError`, `GaveUpError`."""
    reply = yield from Retries(_SHORT_CALL).exchange(request)
    if reply.status >= 400:  # noqa: PLR2004 - RFC 9110 section 15.5
        raise refusal(reply)
    return reply


def decode(reply: Reply, kind: type[Value]) -> Value:
    """Decode the JSON of an answer. Raises `GaveUpError`."""
    try:
        return msgspec.json.decode(reply.content.removeprefix(BOM_UTF8), type=kind)
    except (ValueError, RecursionError) as exc:
        raise GaveUpError(NO_SUCH_SERVICE) from exc


class _Problem(msgspec.Struct):
    """The problem details of an answer (RFC 9457); the last two are those of `banned`."""

    code: str = ""
    detail: str = ""
    reason: str | None = None
    until: str | None = None


def _problem(reply: Reply) -> _Problem:
    """The problem details; empty if there are none."""
    try:
        return decode(reply, _Problem)
    except GaveUpError:
        return _Problem()


def is_transient(reply: Reply) -> bool:
    """Return True if the same request may be answered differently later."""
    if reply.status == _CONFLICT:
        return _problem(reply).code in _TRANSIENT_CONFLICTS
    return reply.status in _TRANSIENT_STATUSES


def is_unauthorized(outcome: Outcome) -> bool:
    """Return True if the service refuses the caller's credentials (RFC 9110, section 15.5.2)."""
    return isinstance(outcome, Reply) and outcome.status == _UNAUTHORIZED


def failure_reason(outcome: Outcome) -> str:
    """The reason of a failure, for people."""
    if isinstance(outcome, ConnectionFailure):
        return outcome.reason
    return f"{_problem(outcome).detail or 'the service failed'} ({outcome.status})"


def refusal(reply: Reply) -> RefusedError | GaveUpError:
    """The error for an unexpected answer. A 401 may have no body, if it answers a HEAD or comes
    from a gateway."""
    problem = _problem(reply)
    if problem.code == "banned":
        return UserBannedError(reply.status, problem.detail, problem.reason, problem.until)
    if problem.code:
        return RefusedError(reply.status, problem.code, problem.detail)
    if is_unauthorized(reply):
        return RefusedError(_UNAUTHORIZED, "identity_required", _challenge_reason(reply))
    return GaveUpError(f"the service answered {reply.status} without saying why")


def _challenge_reason(reply: Reply) -> str:
    """The reason of a 401, from `error_description` (RFC 6750, section 3); API Gateway's is `the
    token has expired`."""
    description = _DESCRIPTION.search(reply.headers.get("www-authenticate", ""))
    if description is None:
        return "This request needs a user. Pass --as NAME, or a valid bearer token."
    if "expired" in description[1]:
        return "The bearer token has expired. Sign in again."
    return description[1]


def _retry_after(reply: Reply) -> float:
    """The wait in seconds from Retry-After: seconds, or a date (RFC 9110 section 10.2.3), which is
    compared with the reply's own date."""
    text = reply.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        sent = reply.headers.get("date")
        now = parsedate_to_datetime(sent) if sent else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return 0.0
