"""Uploads: reserve a post whose image comes later, receive its bytes, complete or abort it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from image_poster import tus
from image_poster.domain import errors
from image_poster.domain.idempotency import Answer, IdempotencyRecord, answer_once
from image_poster.domain.identity import Identity
from image_poster.domain.limits import UPLOAD_KEPT_MS, Limits
from image_poster.domain.posts import (
    Post,
    PostStatus,
    StoredPost,
    new_post,
    new_stored_post,
    uploaded_post,
)
from image_poster.domain.uploads import OwnPost, Upload, UploadOrder, UploadTargets, has_expired
from image_poster.ports import Clock
from image_poster.ports.posts import PostStore
from image_poster.ports.uploads import (
    PutUrlSigner,
    UploadRecord,
    UploadRecordStore,
    UploadStore,
    UploadWriter,
)
from image_poster.services.posts import PostService, check_texts
from image_poster.services.upload_bodies import CountedBody, RefusedBytes, Terms, write_verified


class Patch(NamedTuple):
    """One request's part of an upload: its offset (None: it is the whole) and its declared bytes.
    Then the upload's whole length if declared now, and the body's checksum."""

    offset: int | None
    declared_bytes: int | None = None
    length: int | None = None
    checksum: tus.Checksum | None = None


class UploadProgress(NamedTuple):
    """An upload's terms, and its offset in bytes."""

    upload: Upload
    offset: int


@dataclass(frozen=True)
class UploadService:
    """Receives uploads. Bytes are stored as they come, so a cut loses none; a new request for an
    upload ends any older one. `render` makes a reservation's body as the API shows it."""

    posts: PostStore
    records: UploadRecordStore
    uploads: UploadStore
    put_urls: PutUrlSigner
    post_service: PostService
    clock: Clock
    limits: Limits
    refused_bytes: RefusedBytes
    render: Callable[[StoredPost, UploadTargets], bytes]
    check_may_write: Callable[[str], Awaitable[None]]

    async def reserve_by_tus(
        self, creator: Identity, order: UploadOrder, key: str | None
    ) -> tuple[Answer, Upload]:
        """Reserve an upload in one write; return its answer and its terms (if it is new). Raises as
        `check_new_length` does, `ValidationFailedError` and `IdempotencyKeyReusedError`."""
        post, upload = self._new_upload(creator, order)
        answer = Answer(b"", f"/uploads/{post.id}")
        request = (b"upload", str(order.length).encode(), order.metadata.encode())
        record = answer.record(creator.user, key, *request)
        return await self._reserve_once(post, upload, answer, record), upload

    async def reserve_as_post(
        self, creator: Identity, order: UploadOrder, content_type: str, key: str | None
    ) -> Answer:
        """Reserve a post in one write; the answer has its upload URLs. Raises as `reserve_by_tus`
        does."""
        post, upload = self._new_upload(creator, order._replace(content_type=content_type))
        answer = self._reservation(post, upload)
        texts = (*(text.encode() for text in order.texts), content_type.encode())
        request = (b"reserve", str(order.length).encode(), order.sha256, *texts)
        record = answer.record(creator.user, key, *request)
        answer = await self._reserve_once(post, upload, answer, record)
        return await self._with_new_urls(answer, post) if answer.replayed else answer

    async def state(self, post_id: str, user: Identity) -> UploadProgress:
        """The upload's terms and offset. The call takes the upload over from a request that may be
        half-open.

        If all bytes are there, it is completed here: the request with the last byte may have ended
        just before that. Raises `UploadNotFoundError`, `UploadGoneError` and
        `ChecksumMismatchError`.
        """
        record = await self._find(post_id, user)
        if not record.awaiting:
            return _finished(record.upload)
        offset = await self.uploads.offset(post_id, offset_hint=record.offset)
        return await self._completed(post_id, record, UploadProgress(record.upload, offset))

    async def append(
        self, post_id: str, user: Identity, patch: Patch, chunks: AsyncIterator[bytes]
    ) -> UploadProgress:
        """Append a body, and complete the upload if it was the last. Raises as `state` and
        `tus` do, `UploadTakenOverError` and `UnsupportedImageError`."""
        record = await self._find(post_id, user)
        await self.check_may_write(record.creator)
        if not record.awaiting:
            finished = _finished(record.upload)
            self._allowed(patch, *finished)
            return finished
        return await self._receive_counted(post_id, record, patch, CountedBody(chunks))

    async def put(
        self, post_id: str, declared_bytes: int | None, chunks: AsyncIterator[bytes]
    ) -> None:
        """Receive the whole image in one request with a signed URL; repeating it is a no-op.

        Bytes from before a cut are kept here too, and the upload can be continued. Raises as
        `append` does, and `InvalidRequestError` for a body that is too short.
        """
        record = await self._find(post_id, None)
        await self.check_may_write(record.creator)
        if not record.awaiting:
            return
        if declared_bytes is not None and declared_bytes < (record.upload.length or 0):
            raise _too_short(record.upload)
        patch, body = Patch(None, declared_bytes), CountedBody(chunks)
        state = await self._receive_counted(post_id, record, patch, body)
        if not tus.is_complete(*state):
            raise _too_short(record.upload)

    async def complete(self, post_id: str, upload: Upload) -> None:
        """Make the bytes the post's original, and the post `processing`. Every upload is completed
        by this.

        Idempotent: running it twice, or twice at once, makes one post. After a crash between its
        two steps, run it again. Raises `ChecksumMismatchError`, with no bytes kept, if they are not
        the announced ones.
        """
        await complete_upload(self.posts, self.uploads, post_id, upload)

    async def terminate(self, post_id: str, user: Identity) -> None:
        """Delete the upload, complete or not, and its post (tus 1.0.0, Termination, DELETE);
        repeating it is a no-op for the same user. Raises `UploadNotFoundError` and
        `UploadGoneError`."""
        with suppress(errors.UploadGoneError):  # by this very user, perhaps
            await self.state(post_id, user)
        try:
            await self.post_service.delete(post_id, user, ended=True)
        except errors.PostNotFoundError as exc:
            raise errors.UploadGoneError from exc

    async def awaited(self, post: Post, viewer: Identity | None) -> UploadTargets | None:
        """The upload URLs of a post that awaits its bytes; None for anyone but its creator."""
        if post.status is not PostStatus.AWAITING_UPLOAD:
            return None
        if viewer is None or viewer.user != post.creator:
            return None
        with suppress(errors.UploadGoneError):
            record = await self._find(post.id, viewer)
            return self._targets(post.id, record.upload) if record.awaiting else None
        return None

    def targets(self, post: OwnPost) -> UploadTargets | None:
        """The upload URLs of a post, if it awaits its bytes."""
        awaiting = post.stored.post.status is PostStatus.AWAITING_UPLOAD
        return self._targets(post.stored.id, post.upload) if awaiting and post.upload else None

    def has_run_out(self, post: OwnPost) -> bool:
        """Return True if the post's upload has expired, so that the next sweep deletes it."""
        if post.upload is None or post.stored.post.status is not PostStatus.AWAITING_UPLOAD:
            return False
        return self._has_expired(post.stored.id, post.upload)

    def _targets(self, post_id: str, upload: Upload) -> UploadTargets:
        terms = upload.put_terms
        put = None if terms is None else self.put_urls.sign(post_id, terms, upload.expires_ms)
        return UploadTargets(f"/uploads/{post_id}", put)

    def _reservation(self, post: Post, upload: Upload) -> Answer:
        targets = self._targets(post.id, upload)
        return Answer(self.render(new_stored_post(post), targets), f"/posts/{post.id}")

    async def _reserve_once(
        self, post: Post, upload: Upload, answer: Answer, record: IdempotencyRecord | None
    ) -> Answer:
        """Store the post and its upload, or return the former answer to the same request. If that
        upload was aborted or expired unfinished, the new one replaces it. Raises `GoneError` if its
        post was deleted."""
        instead_of = None
        while True:
            adding = self.posts.add(post, record, upload, instead_of=instead_of)
            result = await answer_once(adding, answer, record)
            if record is None or not result.replayed or not await self._has_ended(result.resource):
                return result
            instead_of = msgspec.structs.replace(record, body=result.body, location=result.location)

    async def _has_ended(self, post_id: str) -> bool:
        """Return True if an upload was aborted or expired before all its bytes had come. Raises
        `GoneError` if it was deleted as a post."""
        if await self.posts.find(post_id) is None:
            # An expired upload leaves no tombstone on AWS, and a tombstone outlives the key.
            if await self.posts.was_aborted(post_id) or not await self.posts.was_deleted(post_id):
                return True
            raise errors.GoneError
        record = await self.records.find(post_id)
        return record is not None and self._has_run_out(post_id, record)

    async def _with_new_urls(self, answer: Answer, repeated: Post) -> Answer:
        """The former answer to a repeated reservation; while its bytes are awaited, with a URL that
        is not expired."""
        stored = await self.post_service.post_of_replay(answer)
        record = await self.records.find(stored.id)
        if record is None or not record.awaiting:
            return answer
        post = msgspec.structs.replace(repeated, id=stored.id, created_at=stored.created_at)
        return self._reservation(post, record.upload)._replace(replayed=True)

    def _new_upload(self, creator: Identity, order: UploadOrder) -> tuple[Post, Upload]:
        tus.check_new_length(order.length, self.limits.image_bytes)
        now, texts = self.clock.now_ms(), order.texts.checked(self.limits)
        check_texts(self.post_service.check_text, *texts)
        post = new_post(self.clock.new_id(), PostStatus.AWAITING_UPLOAD, creator, texts, now)
        expires_ms = now + UPLOAD_KEPT_MS
        announced = (order.metadata, order.sha256, order.content_type)
        return post, Upload(order.length, expires_ms, *announced)

    async def _receive_counted(
        self, post_id: str, record: UploadRecord, patch: Patch, body: CountedBody
    ) -> UploadProgress:
        """Receive the body, and count its discarded bytes, also after an error."""
        try:
            state = await self._receive(post_id, record, patch, body)
        except Exception as exc:
            await self.refused_bytes.count_body(post_id, record.creator, body, exc)
            raise
        await self.refused_bytes.count_body(post_id, record.creator, body)
        return await self._completed(post_id, record, state)

    async def _receive(
        self, post_id: str, record: UploadRecord, patch: Patch, body: CountedBody
    ) -> UploadProgress:
        writer = await self.uploads.take(
            post_id, unverified=patch.checksum is not None, offset_hint=record.offset
        )
        start = writer.offset
        try:
            if patch.offset is None and not tus.is_complete(record.upload, start):
                body.replaced_bytes, start = start, 0
                await writer.rewind(0)
            upload = await self._with_length(post_id, record.upload, patch, writer.offset)
            allowed = self._allowed(patch, upload, writer.offset)
            if allowed is not None:
                await write_verified(writer, body, Terms(upload, allowed), patch.checksum)
                await writer.commit()
        except asyncio.CancelledError as exc:
            raise _cancellation_error(writer, exc) from exc
        finally:
            await writer.close()
            is_dropped = writer.superseded and patch.checksum is not None
            body.stored_bytes = 0 if is_dropped else writer.offset - start
        return UploadProgress(upload, writer.offset)

    async def _completed(
        self, post_id: str, record: UploadRecord, state: UploadProgress
    ) -> UploadProgress:
        if tus.is_complete(*state):
            try:
                await self.complete(post_id, state.upload)
            except errors.ChecksumMismatchError:
                await self.refused_bytes.count(post_id, record.creator, state.offset)
                raise
        return state

    def _allowed(self, patch: Patch, upload: Upload, offset: int) -> int | None:
        """The most bytes that the body may have. None if all bytes are there and the request
        repeats the last piece or the whole, which is then not read."""
        if patch.offset is None and tus.is_complete(upload, offset):
            return None
        if tus.repeats_the_end(upload, offset, patch.offset, patch.declared_bytes):
            return None
        start = offset if patch.offset is None else patch.offset
        return tus.bytes_allowed(
            upload, offset, start, patch.declared_bytes, self.limits.image_bytes
        )

    async def _find(self, post_id: str, user: Identity | None) -> UploadRecord:
        """The upload's record, for its creator, or (None) for a client with a valid signed URL."""
        record = await self.records.find(post_id)
        if record is None or (user is not None and user.user != record.creator):
            raise errors.UploadNotFoundError
        if self._has_run_out(post_id, record):
            raise errors.UploadGoneError
        return record

    def _has_run_out(self, post_id: str, record: UploadRecord) -> bool:
        return record.awaiting and self._has_expired(post_id, record.upload)

    def _has_expired(self, post_id: str, upload: Upload) -> bool:
        clock = self.clock
        service_ms, now_ms = clock.service_ms(), clock.now_ms()
        return has_expired(post_id, upload.expires_ms, service_ms=service_ms, now_ms=now_ms)

    async def _with_length(self, post_id: str, upload: Upload, patch: Patch, offset: int) -> Upload:
        length = tus.length_to_declare(upload, patch.length, offset, self.limits.image_bytes)
        if length is None:
            return upload
        await self.records.declare_length(post_id, length)
        return msgspec.structs.replace(upload, length=length)


async def complete_upload(
    posts: PostStore, uploads: UploadStore, post_id: str, upload: Upload
) -> None:
    """Complete an upload as `UploadService.complete` does, for background work."""
    await uploads.promote(post_id, upload.sha256)
    await posts.update(post_id, uploaded_post)


def _finished(upload: Upload) -> UploadProgress:
    return UploadProgress(upload, upload.length or 0)


def _too_short(upload: Upload) -> Exception:
    return errors.InvalidRequestError(
        f"The body is not the whole image. Send all {upload.length} announced bytes."
    )


def _cancellation_error(writer: UploadWriter, cancelled: asyncio.CancelledError) -> BaseException:
    """The error that ended this request: a newer request took over, or the service stops."""
    task = asyncio.current_task()
    if not writer.superseded or task is None:
        return cancelled
    task.uncancel()
    return errors.UploadTakenOverError()
