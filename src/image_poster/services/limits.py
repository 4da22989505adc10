"""What one user may take: writes by the minute, bytes by the day, uploads at a time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from image_poster.domain.identity import Identity
from image_poster.ports.limits import RateLimiter, UploadQuota


class Unlimited:
    """`RateLimiter` and `UploadQuota` where everybody may take what they like."""

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
    """An image that is being received within one request; `counted_bytes` are its bytes, or all
    that came of a request that is refused."""

    counted_bytes: int = 0


@dataclass(frozen=True)
class LimitService:
    """`image_bytes` is what an image is taken for whose size nobody has said."""

    writes: RateLimiter
    upload_quota: UploadQuota
    image_bytes: int

    async def count_write(self, user: Identity) -> None:
        """One more write. Raises `RateLimitedError`."""
        await self.writes.count(user.user)

    @asynccontextmanager
    async def receiving(
        self, post_id: str, user: Identity, declared_bytes: int | None
    ) -> AsyncIterator[Receiving]:
        """For as long as an image is received within one request, which says that it has so many
        bytes. Raises `RateLimitedError` before any is read."""
        size = self.image_bytes if declared_bytes is None else declared_bytes
        await self.upload_quota.reserve(post_id, user.user, min(size, self.image_bytes))
        receiving = Receiving()
        try:
            yield receiving
        finally:
            await self.upload_quota.commit(post_id, receiving.counted_bytes)
