"""End uploads: by their creator, by time, or by completing what a crash left complete."""

from contextlib import suppress
from dataclasses import dataclass

from image_poster.domain.errors import ChecksumMismatchError, PostNotFoundError, UploadGoneError
from image_poster.domain.identity import Identity
from image_poster.ports.clock import Clock
from image_poster.ports.images import ImageStore
from image_poster.ports.uploads import AwaitedUploads, UploadStore
from image_poster.tus.decisions import Upload, is_complete
from image_poster.usecases.complete_upload import CompleteUpload
from image_poster.usecases.delete_post import DeletePost
from image_poster.usecases.receive_upload import ReceiveUpload

_THE_SERVICE = Identity("", admin=True)


@dataclass(frozen=True)
class TerminateUpload:
    """Termination, DELETE: the upload goes, complete or not, and with it the post that it is."""

    receive_upload: ReceiveUpload
    delete_post: DeletePost

    async def __call__(self, post_id: str, who: Identity) -> None:
        """Drop the upload and its post; repeating it is a no-op for who did it. Raises
        `UploadNotFoundError` and `UploadGoneError`."""
        with suppress(UploadGoneError):  # by this very user, perhaps
            await self.receive_upload.state(post_id, who)
        try:
            await self.delete_post(post_id, who)
        except PostNotFoundError as exc:
            raise UploadGoneError from exc


@dataclass(frozen=True)
class SettleUploads:
    """At the start and every hour: complete what is complete, and drop what has expired.

    An upload whose original is there is complete, whatever the database says of it: it may be an
    older copy, from before the last byte came.
    """

    awaiting: AwaitedUploads
    pictures: ImageStore
    uploads: UploadStore
    complete_upload: CompleteUpload
    delete_post: DeletePost
    clock: Clock

    async def complete(self) -> int:
        """To be called when no request can be under way: asking for offsets takes uploads over. How
        many there were to complete."""
        completed = 0
        for post_id, upload in await self.awaiting.all():
            if await self._is_whole(post_id, upload):
                with suppress(ChecksumMismatchError):  # then its client finds it empty
                    await self.complete_upload(post_id, upload)
                    completed += 1
        return completed

    async def expire(self) -> int:
        """Delete the uploads whose time is over; how many there were."""
        now, expired = self.clock.now_ms(), 0
        for post_id, upload in await self.awaiting.all():
            if upload.expires_ms > now:
                continue
            if await self.pictures.has_original(post_id):
                await self.complete_upload(post_id, upload)
                continue
            await self.delete_post(post_id, _THE_SERVICE)
            expired += 1
        return expired

    async def _is_whole(self, post_id: str, upload: Upload) -> bool:
        if await self.pictures.has_original(post_id):
            return True
        return is_complete(upload, await self.uploads.offset(post_id))
