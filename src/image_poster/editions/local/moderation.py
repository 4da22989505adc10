"""Background work of one machine: move renditions to their places, delete expired failed posts, and
complete deletions of accounts. Every step may be repeated. The lists of blocked images and words
are read here too, and again after a change."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.maintenance import posts_not_public
from image_poster.domain.block_lists import BlockedWords, HashList
from image_poster.domain.identity import Identity
from image_poster.domain.posts import PostStatus
from image_poster.editions import StartError
from image_poster.editions.local.maintenance import PostRetries, Sweeper
from image_poster.ports import Clock
from image_poster.ports.accounts import AccountStore
from image_poster.ports.posts import JobQueue, PostStore, TombstoneQueue
from image_poster.services.accounts import AccountEraser
from image_poster.services.posts import PostService

_DAY_MS = 24 * 3600 * 1000
_TOMBSTONES_AT_A_TIME = 500
# The rest follows in an hour.
_FAILED_AT_A_TIME = 10_000
_THE_SERVICE = Identity("", admin=True)


@dataclass(frozen=True)
class RenditionReconciler:
    """Moves renditions to the place that the status of their post requires. A crash, or a backup,
    may have come between the move and the row.

    A decision may be about to write its row: it has moved the files of a post that is still ready.
    So only files that were moved before the given time are made public, and the status is read
    again after each move.
    """

    database: Database
    posts: PostStore
    images: FileImageStore
    retries: PostRetries = field(default_factory=PostRetries)

    async def reconcile(self, *, older_than_ms: int) -> int:
        """Move renditions once; return the number of posts concerned."""
        run, work = self.retries.run, "moving renditions"
        moved = await run(work, "", self._expose_all, older_than_ms)
        return moved + await run(work, "", self._withhold_all)

    async def _expose_all(self, older_than_ms: int) -> int:
        moved = 0
        async for post_id in self.images.withheld_before(older_than_ms):
            if await self.posts.is_ready(post_id):
                moved += await self.retries.run("exposing", post_id, self._expose, post_id)
        return moved

    async def _expose(self, post_id: str) -> int:
        await self.images.expose(post_id)
        if await self.posts.is_ready(post_id):
            return 1
        await self.images.withhold(post_id)  # it was hidden in the meantime
        return 0

    async def _withhold_all(self) -> int:
        moved = 0
        for post_ids in posts_not_public(self.database):
            for post_id in await self.images.public_among(post_ids):
                moved += await self.retries.run("withholding", post_id, self._withhold, post_id)
        return moved

    async def _withhold(self, post_id: str) -> int:
        await self.images.withhold(post_id)
        if not await self.posts.is_ready(post_id):
            return 1
        await self.images.expose(post_id)  # it was restored in the meantime
        return 0


@dataclass(frozen=True)
class FailedPostExpiry:
    """Deletes failed posts, with their images, `days` after they failed. Rejected ones can be
    published until then."""

    jobs: JobQueue
    posts: PostStore
    post_service: PostService
    clock: Clock
    days: int
    retries: PostRetries = field(default_factory=PostRetries)

    async def expire(self) -> int:
        """Delete the expired posts; return their number."""
        # By both clocks: a wrong one deletes nothing.
        now_ms = min(self.clock.now_ms(), self.clock.service_ms())
        post_ids = await self.jobs.expired_failures(now_ms - self.days * _DAY_MS, _FAILED_AT_A_TIME)
        expired, run = 0, self.retries.run
        for post_id in post_ids:
            expired += await run("deleting a failed post", post_id, self._delete, post_id)
        return expired

    async def _delete(self, post_id: str) -> int:
        stored = await self.posts.find(post_id)
        if stored is None or stored.post.status is not PostStatus.FAILED:
            return 0  # it was replayed, published or deleted in the meantime
        await self.post_service.delete(post_id, _THE_SERVICE)
        return 1


class FilesPendingError(Exception):
    """Files or comments of deleted posts are not purged yet."""


@dataclass(frozen=True)
class AccountDeletionRunner:
    """Completes the deletion of accounts, which a request begins. A deletion that fails is retried
    later, and stops no other one."""

    accounts: AccountStore
    eraser: AccountEraser
    tombstones: TombstoneQueue
    sweeper: Sweeper
    retries: PostRetries = field(default_factory=PostRetries)

    async def complete(self) -> int:
        """Delete the data of all accounts whose deletion has begun; return the number of those that
        are complete. Without such an account this is one read."""
        completed = 0
        for user in await self.accounts.deleting():
            completed += await self.retries.run("deleting an account", user, self._complete, user)
        return completed

    async def _complete(self, user: str) -> int:
        await self.eraser.erase_content(user)
        await self._purge()
        await self.eraser.erase_records(user)
        await self.accounts.finish_deletion(user)
        return 1

    async def _purge(self) -> None:
        """Purge all posts that the service deleted by now, as it does those of accounts. A
        tombstone does not tell whose post it was. Raises `FilesPendingError`."""
        deleted = {post_id async for post_id in self._pending()}
        if not deleted:
            return
        await self.sweeper.purge_deleted()
        remaining = {post_id async for post_id in self._pending()} & deleted
        if remaining:
            first = min(remaining)
            raise FilesPendingError(f"{len(remaining)} deleted posts are not purged, first {first}")

    async def _pending(self) -> AsyncIterator[str]:
        after = ""
        while post_ids := await self.tombstones.pending(_TOMBSTONES_AT_A_TIME, after, by=""):
            for post_id in post_ids:
                yield post_id
            after = post_ids[-1]
            await asyncio.sleep(0)


_REFRESH_SECONDS = 60.0
# A million hashes; a larger file is not a list.
_MAX_FILE_BYTES = 80_000_000

_log = structlog.get_logger()
_List = TypeVar("_List", bound=Sized)


class BlockLists:
    """The lists in force. `images` and `words` are the files, or None for an empty list.

    `refresh` reads files, so it belongs into a thread; the lists can be used from any.
    """

    def __init__(
        self,
        images: Path | None = None,
        words: Path | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read both files. `clock` is in seconds. Raises `StartError`."""
        self._images = _ListFile("blocked_images", images, HashList.parse)
        self._words = _ListFile("blocked_words", words, BlockedWords.parse)
        self._clock = clock
        self._refreshed_at = clock()

    @property
    def images(self) -> HashList:
        """The blocked hashes in force."""
        return self._images.content

    @property
    def words(self) -> BlockedWords:
        """The blocked words in force."""
        return self._words.content

    def refresh(self) -> None:
        """Read the files that have changed; called more than once a minute, do nothing. If a new
        version is wrong, log it, and leave the former list in force."""
        now = self._clock()
        if now - self._refreshed_at >= _REFRESH_SECONDS:
            self._refreshed_at = now
            self._images.refresh()
            self._words.refresh()


class _ListFile(Generic[_List]):
    """One file and its list. `setting` is the name of its setting."""

    def __init__(self, setting: str, path: Path | None, parse: Callable[[str], _List]) -> None:
        """Raises `StartError`."""
        self._setting = setting
        self._path = path
        self._parse = parse
        self._version = _version(path)
        self.content = self._read()

    def refresh(self) -> None:
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self.content = self._read()
        except StartError as exc:
            _log.error("a list cannot be read; the former one stays in force", error=str(exc))
        else:
            _log.info("a list was read again", setting=self._setting, entries=len(self.content))

    def _read(self) -> _List:
        """Raises `StartError`."""
        try:
            return self._parse(_read_text(self._path) if self._path else "")
        except OSError as exc:
            raise StartError(
                f"{self._setting}: {self._path} cannot be read ({exc.strerror}). Correct the "
                "setting or the file, or unset the setting."
            ) from exc
        except ValueError as exc:
            raise StartError(f"{self._setting}: {self._path}: {exc}") from exc


def _version(path: Path | None) -> tuple[int, ...] | None:
    """Return numbers that change when the file does, or None if there is no file."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return status and (status.st_mtime_ns, status.st_size, status.st_ino)


def _read_text(path: Path) -> str:
    """Raises `OSError`, and `ValueError` for text that is not UTF-8 or too long."""
    # A pipe without a writer would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ValueError(f"the file is larger than {_MAX_FILE_BYTES:,} bytes. Shorten the list.")
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise ValueError(f"line {line} is not UTF-8. Save the file as UTF-8.") from exc
