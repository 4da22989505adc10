"""Quotas of one user: writes by the minute, bytes by the day, and concurrent uploads."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from image_poster.domain.identity import Identity
from image_poster.ports.limits import RateLimiter, UploadQuota


class Unlimited:
    """A `RateLimiter` and `UploadQuota` without limits."""

    async def count(self, caller: str) -> None:
        pass

    async def reserve(self, post_id: str, user: str, size: int) -> None:
        pass

    async def commit(self, post_id: str, size: int) -> None:
        pass

    async def charge(self, user: str, size: int) -> None:
        pass


UNLIMITED = Unlimited()


@dataclass
class Receiving:
    """An image that is received within one request; `counted_bytes` are its bytes, or all received
    bytes of a refused request."""

    counted_bytes: int = 0


@dataclass(frozen=True)
class LimitService:
    """Enforces users' quotas. `image_bytes` is the size assumed for an image of unknown size."""

    writes: RateLimiter
    upload_quota: UploadQuota
    image_bytes: int

    async def count_write(self, user: Identity) -> None:
        """Count one write. Raises `RateLimitedError`."""
        await self.writes.count(user.user)

    @asynccontextmanager
    async def receiving(
        self, post_id: str, user: Identity, declared_bytes: int | None
    ) -> AsyncIterator[Receiving]:
        """Reserve an image's bytes while it is received within one request. `declared_bytes` is its
        declared size. Raises `RateLimitedError` before any byte is read."""
        size = self.image_bytes if declared_bytes is None else declared_bytes
        await self.upload_quota.reserve(post_id, user.user, min(size, self.image_bytes))
        receiving = Receiving()
        try:
            yield receiving
        finally:
            await self.upload_quota.commit(post_id, receiving.counted_bytes)
