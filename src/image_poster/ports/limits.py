"""What one caller has taken lately, and whether that leaves room for more."""

from collections.abc import Callable
from typing import Protocol

from image_poster.domain.usage import Usage


class RateLimiter(Protocol):
    """Counts what callers do, by one rule. Counts may be lost when the service starts anew."""

    async def count(self, caller: str) -> None:
        """One more of `caller`. Raises `RateLimitedError`, with nothing counted, if there were as
        many as the rule allows within its time; right also where several processes count."""
        ...


class UploadQuota(Protocol):
    """The bytes that users send in a day (UTC), and how many of their uploads are under way.

    An image is booked before its bytes come. `PostStore.add` does that for an upload whose terms it
    keeps; from then on the booking follows its post: `PostStore.update` ends it when the post no
    longer awaits its bytes, `UploadRecordStore.declare_length` makes it what it really is, and
    `PostStore.remove` gives its bytes back. What was booked survives a restart.
    """

    async def reserve(self, post_id: str, user: str, size: int) -> None:
        """Book `size` bytes for an image that comes within one request. Raises `RateLimitedError`,
        with nothing booked, if the user has too many under way, or too many bytes today."""
        ...

    async def commit(self, post_id: str, size: int) -> None:
        """The request has ended, and `size` bytes count of it: the rest is given back, if the day
        is still the same. A no-op for what is not booked."""
        ...

    async def charge(self, user: str, size: int) -> None:
        """Count bytes that were sent and are not kept. They may be more than are left today: only
        who wants to book is refused."""
        ...


class UsageStore(Protocol):
    """What users have taken lately, where that is told afterwards (AWS)."""

    async def find(self, user: str) -> Usage:
        """As it was a moment ago."""
        ...

    async def update(self, user: str, change: Callable[[Usage], Usage]) -> None:
        """Replace it by what `change` makes of it, whoever else is at it; nothing is written where
        that is the same. Raises `BusyError`."""
        ...
