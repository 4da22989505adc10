"""When to try again, and when to give up."""

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
    """Back-off is exponential with full jitter: anything from 0 to `base` seconds doubled with each
    failure in a row, `cap` at most
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). That is for
    failures without progress: after some, a connection that breaks is tried again at once, and
    from then on after less than `base` at first, unless the service turns out to be down or busy.

    `patience` is how many seconds without any progress are borne; `first_patience`, before anybody
    has answered at all: then the address may be wrong. `silence` is after how many seconds without
    a byte a connection counts as broken.
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
    """The failures of one call, and what is done about them; `tell` is told the reason, and in how
    many seconds the next try is."""

    def __init__(self, policy: Policy, tell: Callable[[str, float], None]) -> None:
        self._policy = policy
        self._tell = tell
        self._failures, self._at_once = _BROKEN, False
        self._answered = False
        self._since = policy.now()

    def wall_clock(self) -> float:
        """Seconds since 1970."""
        return self._policy.wall_clock()

    def progressed(self) -> None:
        """Something has moved: patience is whole again, and the next try is at once."""
        self._failures, self._at_once = _BROKEN, True
        self._since = self._policy.now()

    def exchange(self, request: Send) -> Steps[Reply]:
        """The first answer that asking again would not change. Raises `GaveUpError`."""
        while True:
            outcome: Outcome = yield request
            if isinstance(outcome, Reply) and not is_transient(outcome):
                self._answered = True
                return outcome
            yield from self.pause(outcome)

    def pause(self, outcome: Outcome) -> Steps[None]:
        """Wait before the next try. Raises `GaveUpError` when patience would not last so long, and
        for what will not pass."""
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
        """Seconds. Who is told when to come back comes a random while later: many were told so."""
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
    """Whether the service is down or busy, rather than the way to it bad."""
    return is_transient(outcome) if isinstance(outcome, Reply) else not outcome.reached


def is_transient(reply: Reply) -> bool:
    """Whether the same request may be answered otherwise in a while."""
    if reply.status == _CONFLICT:
        return problem(reply).code in _PASSING_CONFLICTS
    return reply.status in _PASSING


def why(outcome: Outcome) -> str:
    """The reason for a person."""
    if isinstance(outcome, ConnectionFailure):
        return outcome.reason
    return f"{problem(outcome).detail or 'the service is not able to'} ({outcome.status})"


def problem(reply: Reply) -> _Problem:
    """Problem details (RFC 9457); empty if there are none."""
    try:
        return msgspec.json.decode(reply.content.removeprefix(BOM_UTF8), type=_Problem)
    except (ValueError, RecursionError):
        return _Problem()


def _retry_after(reply: Reply) -> float:
    """Seconds, or a date (RFC 9110 section 10.2.3), which is of the same clock as the reply's own
    date."""
    text = reply.headers.get("retry-after", "")
    if text.isdecimal():
        return float(text)
    try:
        sent = reply.headers.get("date")
        now = parsedate_to_datetime(sent) if sent else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(text) - now).total_seconds())
    except (ValueError, TypeError):
        return 0.0
