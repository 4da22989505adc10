"""The secrets of a data folder, each readable by its owner only, and created once.

- `cursor.key`: 32 random bytes, which sign cursors and addresses of uploads
- `webhook.key`: 32 random bytes, which sign webhooks. After a rotation, two parts follow: the
  former 32 bytes, and the end of their use (milliseconds since 1970, 8 bytes, big-endian).
- `token.key`: the key of the service's own tokens, as PEM
- `revocations.json`: the users (hashes of their names) whose own tokens were revoked
- `keys.lock`: the lock under which commands and servers create and replace these files

A user's tokens carry the user's series. A revocation starts a new series, and only tokens of the
present series are valid. No clock is involved, so a wrong clock cannot make a revoked token valid
again.
"""

import asyncio
import fcntl
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from image_poster.adapters.files.filesystem import ConfinedFolder
from image_poster.adapters.oidc import (
    REVOCATIONS,
    new_key,
    own_token,
    read_series,
    series_of,
    user_digest,
)
from image_poster.editions import StartError
from image_poster.editions.local.data_folder import CURSOR_KEY, enter_with_database

WEBHOOK_KEY = "webhook.key"
TOKEN_KEY = "token.key"  # noqa: S105 - the name of a file
_KEY_BYTES = 32
_SERIES_BYTES = 8
_END_BYTES = 8
_DAY_SECONDS = 86_400


def signing_key(data_dir: Path) -> bytes:
    """The secret that signs cursors. Raises `StartError` if it is damaged."""
    key = _read_or_create(data_dir / CURSOR_KEY, lambda: secrets.token_bytes(_KEY_BYTES))
    if len(key) != _KEY_BYTES:
        raise StartError(
            f"the key {data_dir / CURSOR_KEY} is damaged: it has {len(key)} bytes instead of "
            f"{_KEY_BYTES}. Restore it from a backup, or delete it: then all cursors and upload "
            "addresses become invalid."
        )
    return key


def webhook_secrets(data_dir: Path) -> tuple[bytes, ...]:
    """The secrets that sign webhooks: the current one, and for a day after a rotation the former
    one. Raises `StartError` if they are damaged."""
    key = _read_or_create(data_dir / WEBHOOK_KEY, lambda: secrets.token_bytes(_KEY_BYTES))
    current, former, end = key[:_KEY_BYTES], key[_KEY_BYTES:-_END_BYTES], key[-_END_BYTES:]
    if len(key) == _KEY_BYTES:
        return (key,)
    if len(former) != _KEY_BYTES:
        raise StartError(
            f"the key {data_dir / WEBHOOK_KEY} is damaged: it has {len(key)} bytes instead of "
            f"{_KEY_BYTES}. Restore it from a backup, or delete it: then configure the new secret "
            "at your receivers (`image-poster webhooks secret`)."
        )
    is_over = time.time_ns() // 1_000_000 >= int.from_bytes(end)
    return (current,) if is_over else (current, former)


def rotate_webhook_secret(data_dir: Path) -> None:
    """Create a new secret for webhooks, also for a running server. The former one signs too, for a
    day. Raises `StartError`."""
    webhook_secrets(data_dir)  # checked, and created if there is none
    with _locked(data_dir / WEBHOOK_KEY):
        former = webhook_secrets(data_dir)[0]
        end_ms = time.time_ns() // 1_000_000 + _DAY_SECONDS * 1000
        new = secrets.token_bytes(_KEY_BYTES)
        _replace(data_dir / WEBHOOK_KEY, new + former + end_ms.to_bytes(_END_BYTES))


def token_key(data_dir: Path) -> bytes:
    """The key of the service's own tokens. Raises `StartError` if it is damaged."""
    key = _read_or_create(data_dir / TOKEN_KEY, new_key)
    try:
        own_token(key, "nobody", seconds=1)
    except ValueError as exc:
        raise StartError(
            f"token.key in the data folder is damaged ({exc}). Run `image-poster token "
            "--revoke-all`, which creates a new key. Then create new tokens for all users."
        ) from exc
    return key


def issue_token(data_dir: Path, user: str, *, days: int, admin: bool) -> str:
    """A token of the service's own for `user`, valid for `days` days. Raises `StartError`."""
    enter_with_database(data_dir)
    key, series = token_key(data_dir), series_of(read_revocations(data_dir), user)
    return own_token(key, user, seconds=days * _DAY_SECONDS, admin=admin, series=series)


def revoke_all(data_dir: Path) -> None:
    """Replace the key of the service's own tokens: all earlier tokens become invalid, also in a
    running server. Raises `StartError`."""
    enter_with_database(data_dir)
    with _locked(data_dir / TOKEN_KEY):
        _replace(data_dir / TOKEN_KEY, new_key())


def revoke_user(data_dir: Path, user: str) -> None:
    """Revoke all of the service's own tokens of `user`, at once and in every process. Raises
    `StartError`."""
    enter_with_database(data_dir)
    _begin_series(data_dir, user)


async def revoke_deleted_user(data_dir: Path, user: str) -> None:
    """Revoke the tokens of a user whose account is deleted, within the server. A service that never
    issued a token has none to revoke. Raises `StartError`."""
    if (data_dir / TOKEN_KEY).exists():
        await asyncio.to_thread(_begin_series, data_dir, user)


def _begin_series(data_dir: Path, user: str) -> None:
    with _locked(data_dir / REVOCATIONS):
        series = read_revocations(data_dir)
        series.pop(user, None)  # the name itself, by an earlier version
        series[user_digest(user)] = secrets.token_hex(_SERIES_BYTES)
        _replace(data_dir / REVOCATIONS, msgspec.json.encode(series))


def read_revocations(data_dir: Path) -> dict[str, str]:
    """The series of each user whose tokens were revoked. Raises `StartError` for an unreadable
    file: revoked tokens would be valid again, or all refused."""
    path = data_dir / REVOCATIONS
    try:
        return read_series(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise StartError(f"{path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise StartError(
            f"{path} is damaged, so it does not list whose tokens were revoked. Delete it, and run "
            "`image-poster token --revoke-all`. Then create new tokens for all users."
        ) from exc


def _read_or_create(path: Path, create: Callable[[], bytes]) -> bytes:
    """The content of a file, which one process of several creates if there is none. The processes
    use a lock, not a hard link: exFAT and some network file systems have no hard links."""
    try:
        if not path.exists():
            with _locked(path):
                if not path.exists():
                    _replace(path, create())
        return path.read_bytes()
    except OSError as exc:
        raise StartError(f"the key {path} cannot be used: {exc.strerror}.") from exc


def _replace(path: Path, content: bytes) -> None:
    with ConfinedFolder(path.parent) as folder:
        folder.replace(path.name, content)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Exclude other processes that change secrets. Raises `StartError` for any error of the disk,
    with the name of the file to change."""
    try:
        with (path.parent / "keys.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as exc:
        raise StartError(f"{path} cannot be written: {exc.strerror}.") from exc
