"""The owner of a data folder, and the users who can read it. Each command acts as the owner, or
refuses.

A file that root leaves in a service user's folder is one that the service can neither write nor
delete.
"""

import grp
import os
import pwd
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from image_poster.adapters.files.filesystem import share
from image_poster.adapters.files.schema import Layout
from image_poster.editions import StartError

_log = structlog.get_logger()

_PRIVATE, _PASSABLE = 0o700, 0o710
OTHERS = 0o077
_MOUNT_PRIVATELY = (
    "A disk without permissions (exFAT, SMB) must be mounted for the service's user alone: "
    "uid=USER,umask=077."
)


def act_as_owner(data_dir: Path) -> None:
    """Make this process act as the owner of `data_dir`: root becomes that user, for good. A folder
    that does not exist will belong to the caller. Raises `StartError`."""
    folder = _status(data_dir)
    if folder is None or folder.st_uid == os.geteuid():
        return
    name = user_name(folder.st_uid)
    if os.geteuid() != 0:
        raise StartError(
            f"data_dir {data_dir} belongs to {name}, and this command runs as "
            f"{user_name(os.geteuid())}. Run it as {name}, or as root."
        )
    try:
        _become(folder)
    except OSError as exc:
        raise StartError(
            f"data_dir {data_dir} belongs to {name}, and this process may not act as {name} "
            f"({exc.strerror}). Run the command as {name}."
        ) from exc
    if not os.access(data_dir, os.R_OK | os.X_OK):
        raise StartError(
            f"data_dir {data_dir} belongs to {name}, who cannot reach it. Let {name} pass the "
            "folders above it, or move it."
        )


def _become(folder: os.stat_result) -> None:
    """Take the groups of the folder's owner, then the user: in this order, as only root may."""
    try:
        user = pwd.getpwuid(folder.st_uid)
    except KeyError:  # in a container, say
        os.setgroups([folder.st_gid])
        os.setgid(folder.st_gid)
    else:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
    os.setuid(folder.st_uid)


def require_program(data_dir: Path) -> None:
    """Raises `StartError` where the owner cannot start the program, which root could."""
    name = user_name(os.geteuid())
    for program in (sys.executable, os.__file__, __file__):
        if not os.access(program, os.R_OK):
            raise StartError(
                f"data_dir {data_dir} belongs to {name}, who cannot read the program {program}. "
                f"Install it where {name} can read it."
            )


def require_readable(data_dir: Path) -> None:
    """Raises `StartError` for a data folder that this process cannot read."""
    folder = _status(data_dir)
    if folder and not os.access(data_dir, os.R_OK | os.X_OK, effective_ids=True):
        name = user_name(folder.st_uid)
        raise StartError(
            f"data_dir {data_dir} belongs to {name}, and {user_name(os.geteuid())} cannot read it. "
            f"Run this command as {name}, or as root."
        )


def _status(data_dir: Path) -> os.stat_result | None:
    """The folder's status; None if it does not exist. Raises `StartError`."""
    try:
        return data_dir.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc


def user_name(uid: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def prepare_folder(data_dir: Path) -> None:
    """Create the folder if it does not exist. Files that this process creates from here on are
    private to its user. Raises `StartError`."""
    os.umask(OTHERS)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc
    require_writable(data_dir)
    if not os.access(data_dir, os.W_OK | os.X_OK):
        raise StartError(f"data_dir {data_dir} cannot be written to.")


def is_read_only(data_dir: Path) -> bool:
    """True if the folder is on a read-only disk."""
    return bool(os.statvfs(data_dir).f_flag & os.ST_RDONLY)


def require_writable(data_dir: Path) -> None:
    """Raises `StartError` for a read-only disk."""
    if is_read_only(data_dir):
        raise StartError(
            f"data_dir {data_dir} is on a read-only disk. `backup`, `export`, `doctor`, `failed` "
            "work there. For this command, make it writable."
        )


def make_private(data_dir: Path, report: Callable[[str], None]) -> None:
    """Make a new data folder private to its owner, and report the change. A disk without
    permissions stays as it is: `serve` refuses it."""
    if data_dir.stat().st_mode & OTHERS:
        with suppress(OSError):
            data_dir.chmod(_PRIVATE)
            report(f"{data_dir} was open to others: it is private to its owner now (mode 0700)")


def group_id(name: str) -> int | None:
    """The number of the group that may read renditions; None for none. Raises `StartError`."""
    if not name:
        return None
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError as exc:
        raise StartError(f"renditions_group: there is no group {name} here.") from exc


def limit_readers(data_dir: Path, group: int | None) -> None:
    """Make the folder private to its user, except for `group`, which can read the renditions of
    public posts. Raises `StartError`."""
    before = data_dir.stat().st_mode
    try:
        layout = Layout(data_dir)
        layout.hide_withheld()
        if group is None:
            layout.hide_renditions()
            if before & OTHERS:
                data_dir.chmod(_PRIVATE)
        else:
            layout.share_renditions(group)
            share(data_dir, group, _PASSABLE)
    except OSError as exc:
        raise StartError(
            f"{exc.filename} cannot be made private ({exc.strerror}): it must belong to the "
            "server's user, and renditions_group must be one of that user's groups. "
            f"{_MOUNT_PRIVATELY}"
        ) from exc
    after = data_dir.stat().st_mode
    if after & OTHERS & ~(0 if group is None else _PASSABLE):
        raise StartError(f"data_dir {data_dir} stays open to others. {_MOUNT_PRIVATELY}")
    if after != before:
        _log.info(
            "the permissions of the data folder were changed: it is private to the service",
            folder=str(data_dir),
            before=f"{stat.S_IMODE(before):04o}",
            after=f"{stat.S_IMODE(after):04o}",
        )
