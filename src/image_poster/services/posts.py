"""Posts: create, read, wait for, edit, delete."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.errors import (
    BusyError,
    GoneError,
    ImagePosterError,
    PostNotFoundError,
)
from image_poster.domain.idempotency import Answer, answer_once
from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import Limits
from image_poster.domain.moderation import (
    Action,
    Decision,
    ModerationRecords,
    Subject,
    admin_action,
)
from image_poster.domain.posts import (
    Post,
    PostEdit,
    PostStatus,
    PostTexts,
    StoredPost,
    check_visible,
    edited_post,
    new_post,
    new_stored_post,
)
from image_poster.ports import Clock
from image_poster.ports.images import FilesRemainError, ImageStore, StagedImage
from image_poster.ports.posts import (
    PostNotifier,
    PostStore,
    TombstoneStore,
)

_COMMENTS_AT_A_TIME = 500
# Checks a field's cleaned text for blocked words. Raises `TextBlockedError`.
TextCheck = Callable[[str, str], None]


def accept_text(_field: str, _text: str) -> None:
    """The `TextCheck` of a service without blocked words."""


def check_texts(check_text: TextCheck, caption: str | None, alt: str | None) -> None:
    """Check both texts of a post; None is not checked. Raises `TextBlockedError`."""
    for field, text in (("caption", caption), ("alt", alt)):
        if text:
            check_text(field, text)


class PostDraft(NamedTuple):
    """A new post's texts, and its image's size in bytes. `image_sha256` distinguishes images, where
    that matters (with an idempotency key)."""

    texts: PostTexts
    image_sha256: bytes
    image_bytes: int = 0


class NullNotifier:
    """A `PostNotifier` that never notifies."""

    def notify(self, post_id: str) -> None:
        """Do nothing."""

    async def wait(self, post_id: str | None, seconds: float) -> None:
        del post_id
        await asyncio.sleep(seconds)


NULL_NOTIFIER = NullNotifier()


@dataclass(frozen=True)
class PostService:
    """Creates, reads, edits and deletes posts. `render` makes a post's body for the API and for
    idempotency records.

    A request that waits for a post reads it at each notification of `notifier`, and every
    `poll_seconds`, which works across machines too.
    """

    posts: PostStore
    images: ImageStore
    clock: Clock
    limits: Limits
    render: Callable[[StoredPost], bytes]
    notifier: PostNotifier
    poll_seconds: float
    check_text: TextCheck = accept_text

    async def create(
        self,
        post_id: str,
        creator: Identity,
        draft: PostDraft,
        image: StagedImage,
        key: str | None = None,
    ) -> Answer:
        """Store the staged image and its post, which is then `processing`; with an idempotency key,
        once.

        The image is stored before the row that points at it. A crash in between leaves an orphan
        file for the sweeper, and never a row without its image. Raises `ValidationFailedError`,
        `IdempotencyKeyReusedError`, `GoneError` and errors of the stores.
        """
        texts, now = draft.texts.checked(self.limits), self.clock.now_ms()
        check_texts(self.check_text, *texts)
        post = new_post(post_id, PostStatus.PROCESSING, creator, texts, now)
        answer = Answer(self.render(new_stored_post(post)), f"/posts/{post_id}")
        request = (b"post", *(text.encode() for text in draft.texts), draft.image_sha256)
        record = answer.record(creator.user, key, *request)
        await image.commit()
        adding = self.posts.add(post, record, image_bytes=draft.image_bytes)
        try:
            answer = await answer_once(adding, answer, record)
        except BusyError:
            raise  # the row may have been written and only its answer lost: keep its image
        except ImagePosterError:
            await self.images.remove(post_id)
            raise
        if answer.replayed:
            await self.images.remove(post_id)
            await self.post_of_replay(answer)
        return answer

    async def post_of_replay(self, answer: Answer) -> Post:
        """The post created by the first request with this idempotency key. Raises `GoneError` if it
        was deleted since: a replay does not restore it."""
        stored = await self.posts.find(answer.resource)
        if stored is None:
            raise GoneError
        return stored.post

    async def get(self, post_id: str, viewer: Identity | None, *, wait: float = 0) -> StoredPost:
        """The post, once it is not `processing` or `wait` seconds are over. Raises
        `PostNotFoundError`, also if `viewer` may not see it."""
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            stored = await self.posts.find(post_id)
            if stored is None:
                raise PostNotFoundError
            post = stored.post
            check_visible(post, viewer)
            seconds = deadline - asyncio.get_running_loop().time()
            if seconds <= 0 or not await self._may_change(post):
                return stored
            await self.notifier.wait(post_id, min(self.poll_seconds, seconds))

    async def edit(self, post_id: str, editor: Identity, edit: PostEdit) -> StoredPost:
        """Edit the post's texts, for its creator or an admin. Raises `ValidationFailedError`,
        `PostNotFoundError`, `NotYoursError` and `EditConflictError`."""
        checked, now_ms = edit.checked(self.limits), self.clock.now_ms()
        check_texts(self.check_text, checked.caption, checked.alt)
        return await self.posts.update(
            post_id,
            lambda post: edited_post(post, editor, checked, now=rfc3339(now_ms)),
            records=ModerationRecords(self._logged(post_id, editor, Action.EDIT)),
        )

    async def delete(self, post_id: str, by: Identity, *, ended: bool = False) -> None:
        """Delete the post for its creator or an admin; repeating it is a no-op for the same user.
        `ended`: its upload is aborted, so that its key may be used again.

        The removal of the post itself is the one durable fact. Its images are removed before the
        answer, since people who delete an image expect it gone. Its comments follow
        (`PostPurger`). Raises `PostNotFoundError` and `NotYoursError`.
        """
        decision = self._logged(post_id, by, Action.DELETE)
        await self.posts.remove(post_id, by, ended=ended, decision=decision)
        with suppress(FilesRemainError):  # private ones: the purger removes them
            await self.images.remove(post_id)

    def _logged(self, post_id: str, by: Identity, action: Action) -> Decision | None:
        """The entry of the log of decisions for an admin's action; None for other callers."""
        decision_id, now_ms = self.clock.new_id(), self.clock.now_ms()
        return admin_action(decision_id, by, action, Subject(post_id), now_ms)

    async def _may_change(self, post: Post) -> bool:
        """Return True if the post may change soon: it is `processing`, or its image is stored and
        the event is still on its way (AWS)."""
        if post.status is PostStatus.AWAITING_UPLOAD:
            # In this order: an arrived image becomes the original.
            arrived = await self.images.has_arrived(post.id)
            return arrived or await self.images.has_original(post.id)
        return post.status is PostStatus.PROCESSING


@dataclass(frozen=True)
class PostPurger:
    """Purges the data of deleted posts, in small steps so that other requests are not delayed.
    Resumable: the tombstone records the data left. `forget_copies` invalidates a CDN's copies of
    the images."""

    tombstones: TombstoneStore
    images: ImageStore
    forget_copies: Callable[[str], Awaitable[None]] | None = None

    async def purge(self, post_id: str) -> None:
        """Remove the images and comments of one deleted post."""
        await self.images.remove(post_id)
        while await self.tombstones.purge_comments(post_id, _COMMENTS_AT_A_TIME):
            pass
        if self.forget_copies is not None:
            await self.forget_copies(post_id)
        await self.tombstones.mark_purged(post_id)


async def expose_ready(posts: PostStore, images: ImageStore, post_id: str) -> None:
    """Move the renditions of a ready post into the public place. Those of a post that was hidden in
    the meantime stay private."""
    if await posts.is_ready(post_id):
        await images.expose(post_id)
        if not await posts.is_ready(post_id):
            await images.withhold(post_id)
