"""The states that a disk may have after a power cut, from a record of its writes (`recorder.c`).

A cut keeps all synced data. Of the rest it may keep any of the writes to a file, each whole. Of the
changes of names it may keep any first part (metadata is journalled in its order, ext4(5)). A name
is there for good once its folder was synced, and everything by sync(2). This is harsher than the
file systems that we know: there, syncing a new file also keeps its name.
"""

import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("recorder.c")
COMPILER = shutil.which("cc")
_FLAGS = ("-std=gnu11", "-D_LARGEFILE64_SOURCE", "-O1", "-shared", "-fPIC")
_HEAD = struct.Struct("=8sQQQII")


def recorder(folder: Path) -> Path:
    """The recorder, compiled into `folder`."""
    library = folder / "recorder.so"
    assert COMPILER is not None
    command = [COMPILER, *_FLAGS, "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True)
    return library


class Event(NamedTuple):
    """One call that took effect; `ends` is where its record ends in the file of records."""

    kind: str
    inode: int
    offset: int
    data: bytes
    path: str
    other: str
    ends: int


def events(records: bytes, folder: Path) -> Iterator[Event]:
    """All whole records; paths are relative to the folder."""
    at, root = 0, len(str(folder)) + 1
    while at + _HEAD.size <= len(records):
        kind, inode, offset, size, path_size, other_size = _HEAD.unpack_from(records, at)
        at += _HEAD.size
        path = records[at : at + path_size].decode()[root:]
        at += path_size
        other = records[at : at + other_size].decode()[root:]
        at += other_size
        data = records[at : at + size]
        at += size
        if at <= len(records):
            yield Event(kind.rstrip(b"\0").decode(), inode, offset, data, path, other, at)


Write = tuple[int, bytes | None]  # at an offset; None: cut or filled up to it


@dataclass(eq=False)
class File:
    """The durable part of a file, and the changes since."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)

    def sync(self) -> None:
        for write in self.pending:
            apply(self.synced, write)
        self.pending.clear()

    def after_cut(self, chance: random.Random | None) -> bytes:
        """Without chance, nothing but what was synced."""
        content = bytearray(self.synced)
        for write in self.pending:
            if chance is not None and chance.random() < 0.5:
                apply(content, write)
        return bytes(content)


def apply(content: bytearray, write: Write) -> None:
    """As pwrite(2) and ftruncate(2) do."""
    offset, data = write
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


FOLDER = File()
Names = dict[str, File]


class Change(NamedTuple):
    """A change of names: `path` becomes `file` (None: nothing), and `gone` nothing."""

    path: str
    file: File | None
    gone: str = ""

    def apply(self, names: Names) -> None:
        if self.file is None:
            names.pop(self.path, None)
        else:
            names[self.path] = self.file
        if self.gone:
            names.pop(self.gone, None)

    def is_in(self, folder: str) -> bool:
        paths = (self.path, self.gone or self.path)
        return any(path.rpartition("/")[0] == folder for path in paths)


class Disk:
    """A disk on which the events so far have happened."""

    def __init__(self) -> None:
        self._files: dict[int, File] = {}
        self._synced: Names = {}
        self._pending: list[Change] = []

    def happen(self, event: Event) -> None:
        """One event more."""
        match event.kind:
            case "C":
                self._files[event.inode] = File()
                self._pending.append(Change(event.path, self._of(event)))
            case "F":  # another process may have written it
                self._of(event).pending = [(0, None), (0, event.data)]
            case "W":
                self._of(event).pending.append((event.offset, event.data))
            case "T":
                self._of(event).pending.append((event.offset, None))
            case "S":
                self._of(event).sync()
            case "D":
                self._sync_folder(event.path)
            case "Y":
                self._sync_all()
            case _:
                self._pending.append(self._change(event))

    def _of(self, event: Event) -> File:
        return self._files.setdefault(event.inode, File())

    def _change(self, event: Event) -> Change:
        match event.kind:
            case "R":
                return Change(event.other, self._of(event), event.path)
            case "L":
                return Change(event.other, self._of(event))
            case "M":
                return Change(event.path, FOLDER)
            case _:
                return Change(event.path, None)

    def _sync_folder(self, folder: str) -> None:
        pending = []
        for change in self._pending:
            if change.is_in(folder):
                change.apply(self._synced)
            else:
                pending.append(change)
        self._pending = pending

    def _sync_all(self) -> None:
        for change in self._pending:
            change.apply(self._synced)
        self._pending.clear()
        for file in self._files.values():
            file.sync()

    def cut(self, folder: Path, chance: random.Random | None) -> None:
        """Write what there is after a power cut now into an empty folder; without `chance`, nothing
        but what was synced."""
        names = dict(self._synced)
        if chance is not None:
            for change in self._pending[: chance.randint(0, len(self._pending))]:
                change.apply(names)
        for path in sorted(names):
            target = folder / path
            if not target.parent.is_dir():
                continue  # its folder was lost
            if names[path] is FOLDER:
                target.mkdir()
            else:
                target.write_bytes(names[path].after_cut(chance))
