"""Where the bytes of an upload come from."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from image_poster.client.errors import GaveUpError


class Source(Protocol):
    """`name` is for people; `size` in bytes, None while nobody knows."""

    name: str
    size: int | None

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset` on; fewer only at the end."""
        ...


class FileSource:
    """A file, or anything else that can seek."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self.size: int | None = file.seek(0, os.SEEK_END)

    def read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return _full(self._file, size)


class StreamSource:
    """A stream that can only go forwards. What the service may still ask for again, the last piece,
    is held."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._held = b""
        self._start = 0
        self.name = name
        self.size: int | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Raises `GaveUpError` for what is no longer held."""
        if offset < self._start:
            raise GaveUpError(f"{self.name} cannot be read again from its beginning")
        self._held = self._held[offset - self._start :]
        self._start = offset
        self._held += _full(self._stream, size - len(self._held))
        return self._held[:size]


@contextmanager
def open_source(source: Path | BinaryIO) -> Iterator[Source]:
    """The source for a path, or for a stream that its owner closes."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield FileSource(file, source.name)
    else:
        name = Path(str(getattr(source, "name", "stream"))).name
        yield FileSource(source, name) if source.seekable() else StreamSource(source, name)


def _full(stream: BinaryIO, size: int) -> bytes:
    """A pipe gives what it has; only nothing means its end."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
