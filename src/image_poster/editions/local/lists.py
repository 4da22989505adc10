"""The lists of blocked images and words, read from their files, and again after a change."""

import os
import time
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from image_poster.domain.hashes import HashList
from image_poster.domain.words import BlockedWords
from image_poster.editions import StartError

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
