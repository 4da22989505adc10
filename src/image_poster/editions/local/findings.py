"""The doctor's findings about the owner and the permissions of a data folder."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from image_poster.editions.local.folder_check import OWN_NAME
from image_poster.editions.local.folder_mark import MARK_NAME
from image_poster.editions.local.ownership import user_name

_SHOWN = 5
_FULL, _OTHERS = 0o700, 0o077
# What `--renditions-group` opens to its group.
_ALLOWED = {".": 0o010, "renditions": 0o050}
_FOLDERS_OF_FOLDERS = ("uploads", "originals", "renditions", "quarantine")


class Finding(NamedTuple):
    """A check of the doctor: its subject, its result, and a remark."""

    subject: str
    well: bool
    remark: str


def find_wrong_owners(data_dir: Path) -> Finding:
    """Entries of the service that the folder's owner does not own or cannot use, or that others can
    read. Skips the files of posts: there may be millions."""
    owner = data_dir.stat().st_uid
    strangers, faults, count = False, list[str](), 0
    for path in _entries(data_dir):
        count += 1
        status = path.lstat()
        strangers = strangers or status.st_uid != owner
        fault = _fault(path.relative_to(data_dir), status, owner)
        if fault:
            faults.append(f"{path} {fault}")
    if not faults:
        return Finding("owner", well=True, remark=f"{user_name(owner)}, of {count:,} entries")
    remark = f"{len(faults):,} of {count:,} entries are wrong: " + ", ".join(faults[:_SHOWN])
    if strangers:
        remark += f"; as root: chown -R {user_name(owner).removeprefix('user ')} {data_dir}"
    return Finding("owner", well=False, remark=remark)


def _entries(data_dir: Path) -> Iterator[Path]:
    yield data_dir
    for path in sorted(data_dir.iterdir()):
        if path.name != MARK_NAME and not OWN_NAME.fullmatch(path.name):
            continue
        yield path
        if path.name in _FOLDERS_OF_FOLDERS and os.access(path, os.R_OK | os.X_OK):
            yield from (folder for folder in sorted(path.iterdir()) if folder.is_dir())


def _fault(path: Path, status: os.stat_result, owner: int) -> str:
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != owner:
        return f"belongs to {user_name(status.st_uid)}"
    if stat.S_ISDIR(status.st_mode) and mode & _FULL != _FULL:
        return f"cannot be used by its owner (mode {mode:04o})"
    allowed = _ALLOWED.get(str(path), 0)
    if len(path.parts) <= 1 and mode & _OTHERS & ~allowed:
        return f"is open to others (mode {mode:04o})"
    return ""
