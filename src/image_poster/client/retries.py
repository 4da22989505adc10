"""Retries, back-off and their limits."""

import random
import time
from codecs import BOM_UTF8
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from image_poster.client.results import GaveUpError
from image_poster.client.steps import ConnectionFailure, Outcome, Pause, Reply, Send, Steps

# Too many requests, and what a service or something before it answers when it is not able to.
_PASSING = {408, 425, 429, 500, 502, 503, 504, 507}
_CONFLICT = 409
# So many doublings below `base` begins the back-off of a connection that was there and broke.
_BROKEN = -5
_PASSING_CONFLICTS = {"request_in_progress", "upload_taken_over"}


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


class _Problem(msgspec.Struct):
    code: str = ""
    detail: str = ""


class Retries:
    """Counts one call's failures and waits between tries. `tell` receives the reason, and the
    seconds until the next try."""

    def __init__(self, policy: Policy, tell: Callable[[str, float], None]) -> None:
        self._policy = policy
        self._tell = tell
        self._failures, self._at_once = _BROKEN, False
        self._answered = False
        self._since = policy.now()

    def wall_clock(self) -> float:
        """The wall clock, in seconds since 1970."""
        return self._policy.wall_clock()

    def progressed(self) -> None:
        """Record progress: patience starts anew, and the next try is at once."""
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
        reason = why(outcome)
        if isinstance(outcome, ConnectionFailure) and outcome.permanent:
            raise GaveUpError(reason)
        wait = self._wait(outcome)
        patience = policy.patience if self._answered else policy.first_patience
        tried = policy.now() - self._since
        if tried + wait > patience:
            raise GaveUpError(f"{reason}; gave up after {tried:.0f} s without progress")
        self._tell(reason, wait)
        yield Pause(wait)

    def _wait(self, outcome: Outcome) -> float:
        """Seconds until the next try. A Retry-After is followed by a random delay, since many
        clients got the same."""
        policy = self._policy
        at_once, self._at_once = self._at_once, False
        if _spares_the_service(outcome):
            self._failures = max(self._failures, 0)
        elif at_once:
            return 0.0
        drawn = policy.jitter(0, min(policy.cap, policy.base * 2**self._failures))
        self._failures += 1
        return drawn + (_retry_after(outcome) if isinstance(outcome, Reply) else 0.0)


def _spares_the_service(outcome: Outcome) -> bool:
    """Return True if the service is down or busy; False if only the connection broke."""
    return is_transient(outcome) if isinstance(outcome, Reply) else not outcome.reached


def is_transient(reply: Reply) -> bool:
    """Return True if the same request may be answered differently later."""
    if reply.status == _CONFLICT:
        return problem(reply).code in _PASSING_CONFLICTS
    return reply.status in _PASSING


def why(outcome: Outcome) -> str:
    """The reason of a failure, for people."""
    if isinstance(outcome, ConnectionFailure):
        return outcome.reason
    return f"{problem(outcome).detail or 'the service is not able to'} ({outcome.status})"


def problem(reply: Reply) -> _Problem:
    """The problem details of an answer (RFC 9457); empty if there are none."""
    try:
        return msgspec.json.decode(reply.content.removeprefix(BOM_UTF8), type=_Problem)
    except (ValueError, RecursionError):
        return _Problem()


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
