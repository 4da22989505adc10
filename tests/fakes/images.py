"""Images in memory, with their quarantine."""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path

from image_poster.domain import errors
from image_poster.domain.images import RENDITIONS
from image_poster.ports import Clock
from image_poster.ports.images import StagedImage, StoredFile, Workspace

_ORIGINAL = "original"


_UPLOAD = "upload"


def _withheld(rendition: str) -> str:
    return f"withheld {rendition}"


class _MemoryFile:
    place: str | None = None

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)
        self.etag = hashlib.sha256(content).hexdigest()[:32]

    async def read(self, start: int, length: int) -> bytes:
        return self._content[start : start + length]

    def close(self) -> None:
        """Do nothing."""


class _MemoryStaged:
    def __init__(self, store: "MemoryImageStore", post_id: str) -> None:
        self._store = store
        self._post_id = post_id
        self._received = bytearray()

    async def write(self, chunk: bytes) -> None:
        self._received += chunk

    async def commit(self) -> None:
        self._store.keep(self._post_id, _ORIGINAL, bytes(self._received))

    async def discard(self) -> None:
        self._received.clear()


class MemoryImageStore:
    """`ImageStore` in a dictionary. Image work still needs files, in a temporary folder."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._files: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._quarantine: dict[tuple[str, str, int], bytes] = {}

    def keep(self, post_id: str, name: str, content: bytes) -> None:
        """Store one file of a post."""
        self._files[post_id, name] = (content, self._clock.now_ms())

    def received(self, post_id: str) -> bytes:
        """The received bytes of a resumable upload, also after it has become the original."""
        nothing = (b"", 0)
        original = self._files.get((post_id, _ORIGINAL), nothing)
        return self._files.get((post_id, _UPLOAD), original)[0]

    def receive(self, post_id: str, content: bytes) -> None:
        """Replace the received bytes of a resumable upload."""
        self.keep(post_id, _UPLOAD, content)

    def promote(self, post_id: str) -> None:
        """Make the upload the original."""
        if (post_id, _UPLOAD) in self._files:
            self._files[post_id, _ORIGINAL] = self._files.pop((post_id, _UPLOAD))

    def stage(self, post_id: str) -> StagedImage:
        return _MemoryStaged(self, post_id)

    @asynccontextmanager
    async def workspace(self, post_id: str) -> AsyncIterator[Workspace]:
        original = self._content(post_id, _ORIGINAL)
        with tempfile.TemporaryDirectory(prefix="image-poster-") as folder:
            work = Workspace(Path(folder, _ORIGINAL), Path(folder))
            work.original.write_bytes(original)
            yield work

    async def publish(self, post_id: str, work: Workspace, *, withheld: bool = False) -> tuple[()]:
        for name in RENDITIONS:
            self._files.pop((post_id, _withheld(name)), None)
            self.keep(post_id, name, (work.folder / f"{name}.jpg").read_bytes())
        if withheld:
            await self.withhold(post_id)
        return ()

    async def withhold(self, post_id: str) -> None:
        for name in RENDITIONS:
            self._rename(post_id, name, _withheld(name))

    async def expose(self, post_id: str) -> None:
        for name in RENDITIONS:
            self._rename(post_id, _withheld(name), name)

    def is_public(self, post_id: str, rendition: str) -> bool:
        """True if the public place has the rendition."""
        return (post_id, rendition) in self._files

    async def has_original(self, post_id: str) -> bool:
        return (post_id, _ORIGINAL) in self._files

    async def has_arrived(self, post_id: str) -> bool:
        del post_id
        return False

    async def open_original(self, post_id: str) -> StoredFile:
        return _MemoryFile(self._content(post_id, _ORIGINAL))

    async def open_rendition(self, post_id: str, rendition: str) -> StoredFile:
        return await self.open_withheld(post_id, rendition)

    async def open_withheld(self, post_id: str, rendition: str) -> StoredFile:
        name = rendition if self.is_public(post_id, rendition) else _withheld(rendition)
        return _MemoryFile(self._content(post_id, name))

    async def remove(self, post_id: str) -> None:
        for key in [key for key in self._files if key[0] == post_id]:
            del self._files[key]
        self._drop(post_id, None)

    async def leftovers(self, older_than_ms: int) -> AsyncIterator[str]:
        files = self._files.items()
        for post_id in sorted({key[0] for key, (_, since) in files if since < older_than_ms}):
            yield post_id

    async def quarantine(self, post_id: str, now_ms: int) -> int:
        names = [name for of, name in self._files if of == post_id]
        for name in names:
            self._quarantine[post_id, name, now_ms] = self._files.pop((post_id, name))[0]
        return len(names)

    async def quarantined(self, before_ms: int) -> AsyncIterator[str]:
        for post_id in sorted({of for of, _, moved_ms in self._quarantine if moved_ms < before_ms}):
            yield post_id

    async def put_back(self, post_id: str, *, awaiting: bool) -> int:
        keys = [key for key in self._quarantine if key[0] == post_id]
        count = 0
        for key in sorted(keys, key=itemgetter(2), reverse=True):
            name = key[1]
            if (post_id, name) not in self._files and (awaiting or name != _UPLOAD):
                self.keep(post_id, name, self._quarantine.pop(key))
                count += 1
        return count

    async def purge(self, post_id: str, before_ms: int) -> int:
        return self._drop(post_id, before_ms)

    def _rename(self, post_id: str, name: str, new_name: str) -> None:
        file = self._files.pop((post_id, name), None)
        if file is not None:
            self._files[post_id, new_name] = file

    def _drop(self, post_id: str, before_ms: int | None) -> int:
        dropped = [
            key
            for key in self._quarantine
            if key[0] == post_id and (before_ms is None or key[2] < before_ms)
        ]
        for key in dropped:
            del self._quarantine[key]
        return len(dropped)

    def _content(self, post_id: str, name: str) -> bytes:
        try:
            return self._files[post_id, name][0]
        except KeyError as exc:
            raise errors.ImageNotFoundError from exc
