"""`image-poster backup` and `restore`: a data folder as it was at one moment, copied while it
serves.

Files of posts are copied first, then the database (`VACUUM INTO`, one read transaction), then what
its rows ask for and came meanwhile. A post whose files went meanwhile was deleted: it goes from the
copy of the database as well. The manifest is written last, and names the database that it belongs
to: a backup that breaks off leaves the former one valid.
"""

import fcntl
import hashlib
import os
import secrets
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from image_poster.adapters.files.durable import disk_errors, ensure_folder, sync
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import trust_uploads
from image_poster.domain.errors import StorageFullError
from image_poster.domain.images import RENDITIONS
from image_poster.editions import StartError
from image_poster.editions.local.data_folder import database_path, exclusively, prepare

FORMAT = 1
_MANIFEST = "manifest.json"
_CHUNK_BYTES = 1 << 20
_REPORT_EVERY = 500
_OF_POSTS = (("posts", "id"), ("comments", "post_id"), ("uploads", "post_id"))
_MARKS = (".owner", ".unverified", ".trial", ".synced")  # who writes to an upload at this moment

Report = Callable[[str], None]


class CopiedFile(msgspec.Struct, frozen=True):
    """A file of the backup: its path in the data folder, its bytes, when it had changed last (ns
    since 1970), and the SHA-256 of its content, in hexadecimal."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup consists of. `database` is the file that becomes `image_poster.db`."""

    format: int
    database: CopiedFile
    files: list[CopiedFile]


@dataclass
class BackedUp:
    """What a backup did: files that it consists of, those copied this time, and ready posts that
    lack a file in the data folder itself."""

    files: int
    copied: int
    incomplete: list[str]


def back_up(data_dir: Path, target: Path, report: Report) -> BackedUp:
    """Copy the data folder to `target`, beside a running server or without one; what an earlier
    backup there has already is not copied again. Raises `StartError`."""
    source = database_path(data_dir)
    if not source.exists():
        raise StartError(f"there is no database in {data_dir}: pass --data-dir.")
    if target.resolve().is_relative_to(data_dir.resolve()):
        raise StartError(f"{target} is in the data folder: a backup belongs on another disk.")
    os.umask(0o077)
    with _told(target), _alone(target):
        return _Backup(data_dir, target, report).run(source)


@dataclass
class _Backup:
    data_dir: Path
    target: Path
    report: Report
    copied: int = 0
    known: dict[str, CopiedFile] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # that the target has them

    def __post_init__(self) -> None:
        self.layout = Layout(self.data_dir)

    def run(self, source: Path) -> BackedUp:
        for broken_off in self.target.rglob("*.new"):
            broken_off.unlink()
        former = _read_manifest(self.target)
        self.known = {file.path: file for file in former.files} if former else {}
        self.report("copying files")
        self._copy_files(new_only=True)
        self.report("copying the database")
        snapshot = self._snapshot(source)
        self.report("copying what came meanwhile")
        files, incomplete = self._complete(snapshot)
        database = _entry(snapshot, snapshot.name, snapshot.stat())
        self._commit(Manifest(FORMAT, database, files))
        return BackedUp(len(files), self.copied, incomplete)

    def _snapshot(self, source: Path) -> Path:
        snapshot = self.target / f"image_poster-{time.time_ns()}.db"
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("VACUUM INTO ?", (str(snapshot),))
        return snapshot

    def _complete(self, snapshot: Path) -> tuple[list[CopiedFile], list[str]]:
        """All files of the posts that the copy of the database knows. Posts that were deleted
        since are removed from it."""
        files = self._copy_all(key.name for key in self.data_dir.glob("*.key"))
        incomplete, of_posts = [], self._copy_files()
        with closing(sqlite3.connect(snapshot)) as copy:
            for post_id, status in copy.execute("SELECT id, status FROM posts").fetchall():
                found = of_posts.get(post_id, [])
                if not self._asked(post_id, status) <= {file.path for file in found}:
                    if not self._is_there(post_id):
                        _forget(copy, post_id)
                        continue
                    incomplete.append(post_id)
                files += found
            copy.commit()
        return files, incomplete

    def _copy_files(self, *, new_only: bool = False) -> dict[str, list[CopiedFile]]:
        """What there is of every post, or only what the former backup did not have. What is an
        upload may become an original meanwhile: that way round, folders are gone through."""
        found, known = defaultdict[str, list[CopiedFile]](list), set(self.known)
        for shard in self.layout.shards():
            folder = self.layout.relative(shard)
            names = os.listdir(shard)  # noqa: PTH208 - a `Path` for each of all files takes longer
            paths = (f"{folder}/{name}" for name in names)
            for copy in self._copy_all(path for path in paths if not new_only or path not in known):
                post_id = copy.path.rpartition("/")[2].partition(".")[0]
                found[post_id].append(copy)
        return found

    def _asked(self, post_id: str, status: str) -> set[str]:
        """The files without which a post is not whole, as `adapters/files/schema.py` has them."""
        place = f"{post_id[-2:]}/{post_id}"
        names = {f"originals/{place}"} if status in {"ready", "processing"} else set()
        if status == "ready":
            names.update(f"renditions/{place}.{name}.jpg" for name in RENDITIONS)
        return names

    def _is_there(self, post_id: str) -> bool:
        with closing(sqlite3.connect(database_path(self.data_dir))) as live:
            row = live.execute("SELECT 1 FROM posts WHERE id = ?", (post_id,)).fetchone()
        return row is not None

    def _copy_all(self, names: Iterable[str]) -> list[CopiedFile]:
        return [copy for name in names if (copy := self._copy(name)) is not None]

    def _copy(self, name: str) -> CopiedFile | None:
        """Copy a file unless the target has it; None if it is not there (any more), or only says
        who writes at this moment."""
        if name.endswith(_MARKS):
            return None
        try:
            now = os.stat(f"{self.data_dir}/{name}")  # noqa: PTH116 - as in `_copy_files`
            return self._had(name, now) or self._copy_now(name)
        except FileNotFoundError:
            return None

    def _copy_now(self, name: str) -> CopiedFile:
        path = self.data_dir / name
        with path.open("rb") as file:
            size, now = _verified_size(file, path), os.fstat(file.fileno())
            told = CopiedFile(name, size, now.st_mtime_ns, "")
            copy = _copied(file, self.target / name, told)
        self.known[name] = copy
        self.seen.add(name)
        self.copied += 1
        if self.copied % _REPORT_EVERY == 0:
            self.report(f"{self.copied:,} files copied")
        return copy

    def _had(self, name: str, now: os.stat_result) -> CopiedFile | None:
        """The copy that the target has of a file that has not changed since."""
        known = self.known.get(name)
        if known is None or (known.size, known.mtime_ns) != (now.st_size, now.st_mtime_ns):
            return None
        if name not in self.seen:
            with suppress(FileNotFoundError):
                there = os.stat(f"{self.target}/{name}")  # noqa: PTH116 - as in `_copy_files`
                if there.st_size == known.size:
                    self.seen.add(name)
        return known if name in self.seen else None

    def _commit(self, manifest: Manifest) -> None:
        os.sync()  # once for all files: one by one would hold up those who are served
        fresh = self.target / f"{_MANIFEST}.new"
        fresh.write_bytes(msgspec.json.encode(manifest))
        sync(fresh)
        fresh.rename(self.target / _MANIFEST)
        sync(self.target)
        for old in self.target.glob("image_poster-*.db"):
            if old.name != manifest.database.path:
                old.unlink()
        for name in set(self.known) - {file.path for file in manifest.files}:
            if not (self.data_dir / name).exists():
                (self.target / name).unlink(missing_ok=True)


def restore(source: Path, data_dir: Path, report: Report) -> int:
    """Make an empty data folder what it was at the backup, checked whole; how many files that were.
    Raises `StartError`: then the folder has no database, and does not start."""
    manifest = _read_manifest(source)
    if manifest is None:
        raise StartError(f"{source} is no backup: it has no {_MANIFEST}.")
    if data_dir.exists() and any(data_dir.iterdir()):
        raise StartError(f"{data_dir} is not empty: move what is in it elsewhere.")
    prepare(data_dir)
    with _told(data_dir), exclusively(data_dir):
        for number, file in enumerate(manifest.files, 1):
            _put_back(source / file.path, data_dir / file.path, file)
            if number % _REPORT_EVERY == 0:
                report(f"{number:,} of {len(manifest.files):,} files")
        fresh = data_dir / "image_poster.db.new"
        _put_back(source / manifest.database.path, fresh, manifest.database)
        _check(fresh)
        trust_uploads(Layout(data_dir))
        fresh.rename(database_path(data_dir))
        sync(data_dir)
    return len(manifest.files)


def _put_back(source: Path, target: Path, expected: CopiedFile) -> None:
    try:
        with source.open("rb") as file:
            found = _copied(file, target, expected)
    except FileNotFoundError as exc:
        raise StartError(f"the backup is damaged: {source} is missing.") from exc
    if found != expected:
        raise StartError(f"the backup is damaged: {source} is not what was copied.")


def _check(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StartError(f"the backup is damaged: its database has {verdict}.")


def _copied(file: IO[bytes], target: Path, told: CopiedFile) -> CopiedFile:
    """Write the first `told.size` bytes to `target`, whole or not at all; what was written."""
    ensure_folder(target.parent)
    fresh = target.with_name(f"{target.name}.{secrets.token_hex(4)}.new")
    digest, left = hashlib.sha256(), told.size
    try:
        with fresh.open("wb") as copy:
            while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
                copy.write(chunk)
                digest.update(chunk)
                left -= len(chunk)
        os.utime(fresh, ns=(told.mtime_ns, told.mtime_ns))
        fresh.rename(target)
    finally:
        fresh.unlink(missing_ok=True)
    return CopiedFile(told.path, told.size - left, told.mtime_ns, digest.hexdigest())


def _entry(path: Path, name: str, found: os.stat_result) -> CopiedFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return CopiedFile(name, found.st_size, found.st_mtime_ns, digest)


def _verified_size(file: IO[bytes], path: Path) -> int:
    """The bytes that count: of an upload not those whose checksum is still to come. Under the lock
    that writers take (`adapters/files/uploads.py`)."""
    if path.parent.parent.name != "uploads":
        return os.fstat(file.fileno()).st_size
    fcntl.flock(file, fcntl.LOCK_SH)
    try:
        with suppress(FileNotFoundError):
            return int(path.with_name(f"{path.name}.unverified").read_bytes())
        return os.fstat(file.fileno()).st_size
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _forget(copy: sqlite3.Connection, post_id: str) -> None:
    for table, key in _OF_POSTS:
        copy.execute(f"DELETE FROM {table} WHERE {key} = ?", (post_id,))  # noqa: S608 - constants


def _read_manifest(folder: Path) -> Manifest | None:
    try:
        manifest = msgspec.json.decode((folder / _MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as exc:
        raise StartError(f"{folder / _MANIFEST} is damaged: {exc}.") from exc
    if manifest.format != FORMAT:
        raise StartError(f"{folder} is a backup of format {manifest.format}; this is {FORMAT}.")
    return manifest


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What the disk or SQLite has against it, as a sentence."""
    try:
        with disk_errors():
            ensure_folder(folder)
            yield
    except StorageFullError as exc:
        raise StartError(f"the disk of {folder} is full: nothing was finished there.") from exc
    except (OSError, sqlite3.Error) as exc:
        raise StartError(f"it broke off, nothing was finished in {folder}: {exc}.") from exc


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    with (target / "backup.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise StartError(f"another backup to {target} is under way.") from exc
        yield
