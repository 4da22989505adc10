"""The owner of a data folder: each command acts as that user, or refuses.

A file that root leaves in a service user's folder is one that the service can neither write nor
delete.
"""

import os
import pwd
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from image_poster.editions import StartError


def act_as_owner(data_dir: Path) -> None:
    """Make this process act as the owner of `data_dir`: root becomes that user, for good. A folder
    that does not exist will belong to the caller. Raises `StartError`."""
    try:
        folder = data_dir.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc
    if folder.st_uid == os.geteuid():
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
    try:
        folder = data_dir.stat()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise StartError(f"data_dir {data_dir} cannot be used: {exc.strerror}.") from exc
    if not os.access(data_dir, os.R_OK | os.X_OK, effective_ids=True):
        name = user_name(folder.st_uid)
        raise StartError(
            f"data_dir {data_dir} belongs to {name}, and {user_name(os.geteuid())} cannot read it. "
            f"Run this command as {name}, or as root."
        )


def close_folder(data_dir: Path, report: Callable[[str], None]) -> None:
    """Make a new data folder private to its owner, and report the change. A disk without
    permissions stays as it is: `serve` refuses it."""
    if data_dir.stat().st_mode & 0o077:
        with suppress(OSError):
            data_dir.chmod(0o700)
            report(f"{data_dir} was open to others: it is private to its owner now (mode 0700)")


def user_name(uid: int) -> str:
    """The name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


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
