"""The users whose own tokens were revoked, in `revocations.json` in the data folder.

A user's tokens carry the user's series, and revoking starts a new series: only tokens of the
present series hold. No clock is asked, so none can make a revoked token valid again.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from image_poster.adapters.oidc import REVOCATIONS, read_series
from image_poster.editions import StartError
from image_poster.editions.local.data_folder import replace_private

_SERIES_BYTES = 8


def check_revocations(data_dir: Path) -> None:
    """Raises `StartError` for a file that cannot be read: revoked tokens would be valid again, or
    all refused."""
    _series(data_dir)


def find_series(data_dir: Path, user: str) -> str | None:
    """The series of a user's tokens; None if they were never revoked. Raises `StartError`."""
    return _series(data_dir).get(user)


def revoke_user(data_dir: Path, user: str) -> None:
    """No token of the service's own that `user` has so far holds any longer, at once and in every
    process. Raises `StartError`."""
    path = data_dir / REVOCATIONS
    try:
        with _folder_lock(data_dir):
            series = _series(data_dir) | {user: secrets.token_hex(_SERIES_BYTES)}
            replace_private(path, msgspec.json.encode(series))
    except OSError as exc:
        raise StartError(f"{path} cannot be replaced: {exc.strerror}.") from exc


def _series(data_dir: Path) -> dict[str, str]:
    path = data_dir / REVOCATIONS
    try:
        return read_series(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise StartError(f"{path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise StartError(
            f"{path} is damaged, so it does not say whose tokens were revoked. Delete it, and run "
            "`image-poster token --revoke-all`: then all tokens are to be made anew."
        ) from exc


@contextmanager
def _folder_lock(data_dir: Path) -> Iterator[None]:
    """Two commands at once must not lose a revocation of each other (flock(2) of the folder)."""
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
