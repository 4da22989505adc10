"""Work on many posts, where one post's failure must not stop the others."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple, ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class PostFailure(NamedTuple):
    """A failure: the work, its post (empty: a whole round), and the reason."""

    work: str
    post_id: str
    error: Exception


class _Pause(NamedTuple):
    """The time of the next try, in seconds of the event loop's clock, and the pause after it."""

    until: float
    next_seconds: float


@dataclass
class PostRetries:
    """Runs work post by post. After a failure the post is skipped for a pause, which doubles with
    each failure. Failures are stored until `drain_failures` reports them."""

    first_pause_seconds: float = 1.0
    max_pause_seconds: float = 600.0
    _pauses: dict[tuple[str, str], _Pause] = field(default_factory=dict)
    _failures: list[PostFailure] = field(default_factory=list)

    async def run(
        self,
        work: str,
        post_id: str,
        action: Callable[Arguments, Awaitable[Result]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result | None:
        """Return the result of `action`; None if it failed, or failed before and is not due yet."""
        key, now = (work, post_id), asyncio.get_running_loop().time()
        pause = self._pauses.get(key, _Pause(now, self.first_pause_seconds))
        if now < pause.until:
            return None
        try:
            result = await action(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - whatever it was, other posts have their turn
            self._failures.append(PostFailure(work, post_id, exc))
            seconds = min(2 * pause.next_seconds, self.max_pause_seconds)
            self._pauses[key] = _Pause(now + pause.next_seconds, seconds)
            return None
        self._pauses.pop(key, None)
        return result

    def drain_failures(self) -> list[PostFailure]:
        """Return the failures since the last call."""
        failures, self._failures = self._failures, []
        return failures
