"""Rate limits, quotas, and the recent usage of users."""

from typing import Protocol


class RateLimiter(Protocol):
    """Counts callers' actions under one rule. A restart may lose the counts."""

    async def count(self, caller: str) -> None:
        """Count one action of `caller`. Raises `RateLimitedError`, with nothing counted, if the
        rule's limit is reached; exact also across processes."""
        ...


class UploadQuota(Protocol):
    """Quotas for the bytes that a user sends in a day (UTC), and for unfinished uploads.

    An image's bytes are reserved before they come. `PostStore.add` does that for an upload with
    stored terms. Then the reservation follows its post. `PostStore.update` ends it when the post no
    longer awaits its bytes. `UploadRecordStore.declare_length` sets its real size, and
    `PostStore.remove` returns its bytes. Reservations survive a restart.
    """

    async def reserve(self, post_id: str, user: str, size: int) -> None:
        """Reserve `size` bytes for an image that comes within one request. Raises
        `RateLimitedError`, with nothing reserved, if the user has too many uploads under way, or
        too many bytes today."""
        ...

    async def commit(self, post_id: str, size: int) -> None:
        """End the request's reservation and count `size` bytes. The rest is returned if the day is
        still the same. A no-op without a reservation."""
        ...

    async def charge(self, user: str, size: int) -> None:
        """Count bytes that were sent and discarded. They may exceed the quota: only `reserve`
        refuses."""
        ...
