"""Images: serve them, and do a post's image work: make renditions, then publish or fail the
post."""

import asyncio
import errno
from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.errors import ImageNotFoundError, PostNotFoundError, StorageFullError
from image_poster.domain.identity import Identity
from image_poster.domain.images import ImageRejectedError, ImageWorkFailedError, RenderedImage
from image_poster.domain.posts import Failure, PostStatus, StoredPost, failed_post, is_withheld
from image_poster.ports.images import ImageRenderer, ImageStore, RemoteFile, StoredFile, Workspace
from image_poster.ports.posts import HookReviews, Job, JobQueue, PendingReview, PostStore
from image_poster.ports.tracing import NULL_TRACER, Tracer
from image_poster.services.posts import PostService, expose_ready
from image_poster.services.review import NO_SCREENING, ImageScreening, usable_hash

# A job that has failed so often is given up: the post fails, and an operator may replay the job.
MAX_FAILURES = 3
# A lease that ended with its process is no failure, up to this number.
_MAX_LEASES = 20
_FIRST_RETRY_MS = 1_000
_FULL_DISK_DELAY_MS = 2_000
# Faults of the disk that an operator has to repair. No job is given up for them.
_DISK_FAULTS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE}
_DISK_FAULT_DELAY_MS = 30_000


@dataclass(frozen=True)
class ImageService:
    """Opens images to be served. An image is visible only as long as its post exists, whatever
    files remain."""

    post_service: PostService
    posts: PostStore
    images: ImageStore

    async def rendition(self, post_id: str, rendition: str) -> StoredFile | RemoteFile:
        """A rendition of a ready post. Raises `ImageNotFoundError`."""
        if not await self.posts.is_ready(post_id):
            raise ImageNotFoundError
        return await self.images.open_rendition(post_id, rendition)

    async def withheld_rendition(
        self, post_id: str, rendition: str, viewer: Identity, *, for_admins: bool
    ) -> StoredFile | RemoteFile:
        """A rendition of a post that is not public, for its creator, or for admins. Raises
        `ImageNotFoundError`, also for any other viewer."""
        stored = await self.posts.find(post_id)
        if stored is None or stored.post.image is None:
            raise ImageNotFoundError
        post = stored.post
        if not (for_admins and viewer.admin) and post.creator != viewer.user:
            raise ImageNotFoundError
        return await self.images.open_withheld(post_id, rendition)

    async def original(self, post_id: str, viewer: Identity) -> StoredFile | RemoteFile:
        """The untouched upload, for the post's creator only. Admins may not read it: it may hold
        the place where the image was taken. Raises `PostNotFoundError` and `NotYoursError`."""
        stored = await self.post_service.get(post_id, viewer)
        Identity(viewer.user).require(stored.post.creator)
        try:
            return await self.images.open_original(post_id)
        except ImageNotFoundError as exc:
            # Deleted between the two reads.
            raise PostNotFoundError from exc


@dataclass(frozen=True)
class ImagePublisher:
    """Does the image work of one post. Safe to repeat, at any point and by any process: renditions
    are replaced whole, and only a post that is still `processing` changes."""

    posts: PostStore
    images: ImageStore
    renderer: ImageRenderer
    screening: ImageScreening = NO_SCREENING
    reviews: HookReviews | None = None
    tracer: Tracer = NULL_TRACER
    check_seconds: float = 1.0  # during the work, a deletion is noticed so often

    async def publish(self, post_id: str) -> PostStatus | None:
        """Do the work and return the post's status; None if it was deleted, which ends the work.
        Raises `ImageWorkFailedError` to be retried, and `StorageFullError`."""
        stored = await self.posts.find(post_id)
        if stored is None:
            return None
        if stored.post.status is not PostStatus.PROCESSING:
            return stored.post.status
        try:
            return (await self._render_and_publish(post_id)).post.status
        except ImageRejectedError as exc:
            return await self._fail(post_id, Failure(exc.code, exc.detail))
        except PostNotFoundError:
            # Deleted during the work: leave no file behind.
            await remove_if_deleted(self.posts, self.images, post_id)
            return None

    async def _render_and_publish(self, post_id: str) -> StoredPost:
        try:
            async with self.images.workspace(post_id) as work:
                rendered = await self._render_unless_deleted(post_id, work)
                result = await self.screening.screen(rendered)
                withheld = result.status is not PostStatus.READY
                with self.tracer.span("publish files"):
                    files = await self.images.publish(post_id, work, withheld=withheld)
        except (ImageNotFoundError, ImageWorkFailedError) as exc:
            if await self.posts.find(post_id) is None:
                raise PostNotFoundError from exc  # deleted during the work, with its files
            if isinstance(exc, ImageNotFoundError):
                raise ImageWorkFailedError("the original is missing") from exc
            raise
        if result.status is PostStatus.PROCESSING and self.reviews is not None:
            await self.reviews.begin(post_id, PendingReview(rendered), files)
        stored = await self.posts.update(
            post_id,
            lambda post: result.apply(post, rendered),
            files=files,
            image_hash=usable_hash(rendered),
            records=result.records(post_id),
        )
        await self._correct_place(stored, withheld=withheld)
        return stored

    async def _correct_place(self, stored: StoredPost, *, withheld: bool) -> None:
        """Move the renditions if the post has another status than their place was chosen for."""
        if withheld and stored.post.status is PostStatus.READY:
            await expose_ready(self.posts, self.images, stored.id)  # a review published it
        if not withheld and is_withheld(stored.post):
            # Another process published it, then it was hidden.
            await self.images.withhold(stored.id)

    async def _render_unless_deleted(self, post_id: str, work: Workspace) -> RenderedImage:
        """Render, but stop once the post is deleted. Raises `PostNotFoundError`."""
        rendering = asyncio.ensure_future(self.renderer.render(work))
        try:
            while not rendering.done():
                await asyncio.wait([rendering], timeout=self.check_seconds)
                if not rendering.done() and await self.posts.find(post_id) is None:
                    raise PostNotFoundError
            return rendering.result()
        finally:
            rendering.cancel()
            await asyncio.gather(rendering, return_exceptions=True)

    async def _fail(self, post_id: str, failure: Failure) -> PostStatus | None:
        try:
            stored = await self.posts.update(post_id, lambda post: failed_post(post, failure))
        except PostNotFoundError:
            return None
        return stored.post.status


async def remove_if_deleted(posts: PostStore, images: ImageStore, post_id: str) -> None:
    """Remove files that came late for a deleted post. Files of an unknown post stay for the
    sweeper: the database may be the wrong one."""
    if await posts.was_deleted(post_id):
        await images.remove(post_id)


class JobResult(NamedTuple):
    """A job and its outcome: a post status or `deleted`, or, with the error, `retried`, `postponed`
    or `parked`."""

    post_id: str
    outcome: str
    error: str | None = None


@dataclass(frozen=True)
class JobRunner:
    """Leases due image work, retries failures, and parks work that keeps failing (one machine).

    `lease_ms` must be longer than the renderer ever takes, or two would work on one image (which is
    harmless, and a waste). Work that failed `MAX_FAILURES` times is parked. Leases that ended with
    the process (a power cut, for example) do not count as failures, up to 20 of them. Work that
    meets a full disk or a disk fault is postponed until that is over.
    """

    jobs: JobQueue
    publisher: ImagePublisher
    lease_ms: int
    tracer: Tracer = NULL_TRACER

    async def run_next(self) -> JobResult | None:
        """Do one job that is due; None if there was none."""
        job = await self.jobs.lease(self.lease_ms)
        if job is None:
            return None
        if job.leases > _MAX_LEASES:
            return await self._park(job, f"the process ended during {job.leases - 1} attempts")
        try:
            with self.tracer.span("image work", job.trace):
                status = await self.publisher.publish(job.post_id)
        except Exception as exc:  # noqa: BLE001 - one post stops no other's image work
            return await self._postpone(job, exc)
        return JobResult(job.post_id, status or "deleted")

    async def _postpone(self, job: Job, exc: Exception) -> JobResult:
        """Postpone the job after a disk fault or a full disk; retry it after any other error."""
        error, delay_ms = error_text(exc), _FULL_DISK_DELAY_MS
        if isinstance(exc, OSError) and exc.errno in _DISK_FAULTS:
            delay_ms = _DISK_FAULT_DELAY_MS
        elif not isinstance(exc, StorageFullError):
            return await self._retry(job, error)
        await self.jobs.postpone(job, delay_ms=delay_ms, error=error)
        return JobResult(job.post_id, "postponed", error)

    async def _retry(self, job: Job, error: str) -> JobResult:
        if job.failures + 1 >= MAX_FAILURES:
            return await self._park(job, error)
        await self.jobs.retry(job, delay_ms=_FIRST_RETRY_MS << job.failures, error=error)
        return JobResult(job.post_id, "retried", error)

    async def _park(self, job: Job, error: str) -> JobResult:
        await self.jobs.park(job, error=error)
        return JobResult(job.post_id, "parked", error)


def error_text(error: Exception) -> str:
    """The text of an error, for operators."""
    return f"{type(error).__name__}: {error}"
