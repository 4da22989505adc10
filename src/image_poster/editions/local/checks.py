"""Checks of the doctor that need no valid database: the data folder, its disk, and image work.

The self-test of image work checks that each format can be decoded here, and that its decoder is
confined. It renders a tiny image of each format like the images of users. The HEIC is stored here;
the other images are made for the test.
"""

import os
import shutil
import sqlite3
import stat
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from image_poster.adapters.files.schema import POST_FOLDERS
from image_poster.adapters.images.confinement import Confinement
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.adapters.sqlite.schema import VERSION
from image_poster.domain.images import ImageFormat, ImageRejectedError, ImageWorkFailedError
from image_poster.editions import OperationFailedError, StartError
from image_poster.editions.local import data_folder, ownership
from image_poster.editions.local.settings import Settings
from image_poster.ports.images import Workspace

_SIDE = 16
# 16 x 16 pixels of grey, made once with pillow-heif: only tests encode HEIC, since the encoder is
# GPL (docs/decisions/0018) and a decoder without one shall do.
_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAACYAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABo"
    "dmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEA"
    "GEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAAD"
    "AIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAEAAAAAEA"
    "AAAQAAAAAf///9AAAAAC////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAALm1k"
    "YXQAAAAiKAGvEyEdlvhbUwmI6yxAuUxYKXlXIJNuwHivMoeOva+aYA=="
)


class SelfTest(NamedTuple):
    """The names of the formats that cannot be decoded on this machine, and the confinement of the
    decoders (None if no process could be started)."""

    unreadable: list[str]
    confinement: Confinement | None


async def self_test() -> SelfTest:
    """Render one image of each format and return the result."""
    renderer = VipsImageRenderer(RenderSettings(max_pixels=_SIDE * _SIDE))
    try:
        with tempfile.TemporaryDirectory() as folder:
            unreadable = [
                str(name) for name in ImageFormat if not await _is_read(renderer, name, folder)
            ]
    finally:
        await renderer.close()
    return SelfTest(unreadable, renderer.confinement)


async def _is_read(renderer: VipsImageRenderer, image_format: ImageFormat, folder: str) -> bool:
    path = Path(folder, image_format.name)
    try:
        _write_sample(image_format, path)
        await renderer.render(Workspace(path, path.parent))
    except (ImageRejectedError, ImageWorkFailedError, OSError):
        return False
    return True


def _write_sample(image_format: ImageFormat, path: Path) -> None:
    if image_format is ImageFormat.HEIC:
        path.write_bytes(b64decode(_HEIC))
    else:
        Image.new("RGB", (_SIDE, _SIDE), (128, 128, 128)).save(path, image_format.name)


_MIN_FREE_BYTES = 1_000_000_000
_SHOWN = 5
_FULL = 0o700
# The permissions that `--renditions-group` gives to its group.
_ALLOWED = {".": 0o010, "renditions": 0o050}
_FOLDERS_OF_FOLDERS = (*POST_FOLDERS, "quarantine")


class Finding(NamedTuple):
    """A check of the doctor: its subject, its result, and a remark."""

    subject: str
    ok: bool
    remark: str


def good(subject: str, remark: str) -> Finding:
    """A finding that is right."""
    return Finding(subject, ok=True, remark=remark)


def bad(subject: str, remark: str) -> Finding:
    """A finding that needs an operator."""
    return Finding(subject, ok=False, remark=remark)


def check_folder(data_dir: Path) -> Finding:
    """The folder's mark, and its id."""
    try:
        is_own = data_folder.is_own_folder(data_dir)
        mark = data_folder.read_mark(data_dir) if is_own else None
    except StartError as exc:
        return bad("folder", str(exc))
    if not is_own:
        remark = f"{data_dir} is empty, or no data folder of this service: pass --data-dir"
        return bad("folder", remark)
    if mark is None:
        return good(
            "folder",
            "it was created by an earlier version: the next start of `serve` gives it an id",
        )
    return good("folder", f"its id is {mark.id}")


def find_wrong_owners(data_dir: Path) -> Finding:
    """Entries of the service that the folder's owner does not own or cannot use, or that others can
    read. Skips the files of posts: there may be millions."""
    owner = data_dir.stat().st_uid
    strangers, faults, count = False, list[str](), 0
    for path in _entries(data_dir):
        count += 1
        status = path.stat() if path == data_dir else path.lstat()  # the folder may be a link
        strangers = strangers or status.st_uid != owner
        fault = _wrong_permission(path.relative_to(data_dir), status, owner)
        if fault:
            faults.append(f"{path} {fault}")
    if not faults:
        return good("owner", f"{ownership.user_name(owner)}, of {count:,} entries")
    remark = f"{len(faults):,} of {count:,} entries are wrong: " + ", ".join(faults[:_SHOWN])
    if strangers:
        name = ownership.user_name(owner).removeprefix("user ")
        remark += f"; as root: chown -R {name} {data_dir}"
    return bad("owner", remark)


def _entries(data_dir: Path) -> Iterator[Path]:
    yield data_dir
    for path in sorted(data_dir.iterdir()):
        if path.name != data_folder.MARK and not data_folder.OWN_NAME.fullmatch(path.name):
            continue
        yield path
        if path.name in _FOLDERS_OF_FOLDERS and os.access(path, os.R_OK | os.X_OK):
            yield from (folder for folder in sorted(path.iterdir()) if folder.is_dir())


def _wrong_permission(path: Path, status: os.stat_result, owner: int) -> str:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != owner:
        return f"belongs to {ownership.user_name(status.st_uid)}"
    if stat.S_ISDIR(status.st_mode) and mode & _FULL != _FULL:
        return f"cannot be used by its owner (mode {mode:04o})"
    allowed = _ALLOWED.get(str(path), 0)
    if len(path.parts) <= 1 and mode & ownership.OTHERS & ~allowed:
        return f"is open to others (mode {mode:04o})"
    return ""


def check_disk(settings: Settings) -> Finding:
    """The free space."""
    if ownership.is_read_only(settings.data_dir):
        remark = "read-only: `backup` and `export` can save its content, `serve` cannot start"
        return bad("disk", remark)
    free = shutil.disk_usage(settings.data_dir).free
    remark = f"{free / 1e9:.1f} GB free"
    if free >= max(_MIN_FREE_BYTES, 3 * settings.disk_reserve):
        return good("disk", remark)
    reserve = f"{settings.disk_reserve / 1e9:.2f} GB"
    return bad("disk", f"{remark}; below {reserve} the service accepts deletions only")


def check_server(data_dir: Path) -> tuple[Finding, bool]:
    """The finding, and whether a server runs."""
    try:
        with data_folder.lock_against_servers(data_dir):
            return good("server", "no server uses this folder"), False
    except OperationFailedError:
        return good("server", "a server uses this folder"), True
    except OSError as exc:
        return bad("server", f"its lock cannot be read: {exc}"), False


def check_database(path: Path, *, is_own: bool) -> Finding:
    """SQLite's own check, and the version of the schema."""
    if not (is_own and path.exists()):
        return bad("database", "the folder has no database of this service")
    try:
        with closing(sqlite3.connect(path)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as exc:
        return bad("database", str(exc))
    if verdict == "ok" and version != VERSION:
        return bad("database", f"its schema version is {version}, and this program needs {VERSION}")
    return Finding("database", verdict == "ok", f"quick_check: {verdict}")


def check_image_work(result: SelfTest) -> Iterator[Finding]:
    """The image formats, and the confinement of decoders."""
    missing, confinement = result.unreadable, result.confinement
    remark = f"cannot read {', '.join(missing)}" if missing else "all formats can be read"
    yield Finding("formats", not missing, remark)
    if confinement is None:
        yield bad("sandbox", "no image process could be started")
    else:
        yield Finding("sandbox", confinement.is_complete, str(confinement))
