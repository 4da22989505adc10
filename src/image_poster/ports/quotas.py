"""Rate limits, quotas, and the recent usage of users."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol


class RateLimiter(Protocol):
    """Counts callers' actions under one rule. A restart may lose the counts."""

    async def count(self, caller: str) -> None:
        """Count one action of `caller`. Raises `RateLimitedError`, with nothing counted, if the
        rule's limit is reached; exact also across processes."""
        ...


class UploadQuota(Protocol):
    """Quotas for the bytes that a user sends in a day (UTC), and for unfinished uploads.

    The stores count what they store. `PostStore.add` counts the bytes of an image that came within
    one request, and reserves those of an upload. That reservation follows its post:
    `PostStore.update` ends it when the post no longer awaits its bytes, and `PostStore.remove`
    returns its bytes. `UploadRecordStore.declare_length` sets its real size.
    """

    def reserve(self, user: str, size: int) -> AbstractAsyncContextManager[None]:
        """Reserve `size` bytes and an unfinished upload in memory, while the context lasts and an
        image arrives within one request. Raises `RateLimitedError`, with nothing reserved, if the
        user has too many unfinished uploads, or too many bytes today."""
        ...

    async def charge(self, user: str, size: int) -> None:
        """Count bytes that were sent and discarded, durably. They may exceed the quota."""
        ...
