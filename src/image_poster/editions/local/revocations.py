"""The users whose own tokens were revoked, in `revocations.json` in the data folder.

A user's tokens carry the user's series. A revocation starts a new series, and only tokens of the
present series are valid. No clock is involved, so a wrong clock cannot make a revoked token valid
again.
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
    """Raises `StartError` for an unreadable file: revoked tokens would be valid again, or all
    refused."""
    _series(data_dir)


def find_series(data_dir: Path, user: str) -> str | None:
    """The series of a user's tokens; None if they were never revoked. Raises `StartError`."""
    return _series(data_dir).get(user)


def revoke_user(data_dir: Path, user: str) -> None:
    """Revoke all of the service's own tokens of `user`, at once and in every process. Raises
    `StartError`."""
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
    """Lock the folder (flock(2)), so that concurrent commands do not lose each other's
    revocations."""
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
