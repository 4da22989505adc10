"""Access to the API of one machine: the secrets of a data folder, the authenticator, CORS origins,
proxies, and limits by address.

Each secret is readable by the folder's owner only, and created once.
"""

import asyncio
import fcntl
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from image_poster.adapters.files.filesystem import ConfinedFolder
from image_poster.adapters.oidc import (
    REVOCATIONS,
    OidcTokenVerifier,
    OwnTokenVerifier,
    TokenVerifiers,
    new_key,
    own_token,
    read_series,
    series_of,
    user_digest,
)
from image_poster.adapters.sharing import RateCounters, SharedRateLimiter
from image_poster.domain.limits import request_rule
from image_poster.editions import StartError, parse_admin_claim, parse_list, parse_origins
from image_poster.editions.local.data_folder import CURSOR_KEY, enter_with_database
from image_poster.editions.local.settings import Settings
from image_poster.http.addresses import AddressLimiter, TrustedProxies, networks
from image_poster.http.auth import Authenticator, DevAuthenticator, TokenAuthenticator, TokenTerms

WEBHOOK_KEY = "webhook.key"
TOKEN_KEY = "token.key"  # noqa: S105 - the name of a file
_KEY_BYTES = 32
_SERIES_BYTES = 8
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


def webhook_secret(data_dir: Path) -> bytes:
    """The secret that signs webhooks. Raises `StartError` if it is damaged."""
    key = _read_or_create(data_dir / WEBHOOK_KEY, lambda: secrets.token_bytes(_KEY_BYTES))
    if len(key) != _KEY_BYTES:
        raise StartError(
            f"the key {data_dir / WEBHOOK_KEY} is damaged: it has {len(key)} bytes instead of "
            f"{_KEY_BYTES}. Restore it from a backup, or delete it: then configure the new secret "
            "at your receivers (`image-poster webhooks secret`)."
        )
    return key


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


def authenticator(settings: Settings) -> Authenticator:
    """The authenticator for `settings.auth`. Creates the key of the service's own tokens if there
    is none, and checks it and the revocations. Raises `StartError`."""
    admins = frozenset(parse_list(settings.admins))
    if settings.auth == "dev":
        return DevAuthenticator(admins)
    token_key(settings.data_dir)
    read_revocations(settings.data_dir)
    issuer = (
        OidcTokenVerifier(settings.jwt_issuer, parse_list(settings.jwt_audience))
        if settings.jwt_issuer
        else None
    )
    own = OwnTokenVerifier(settings.data_dir / TOKEN_KEY)
    terms = TokenTerms(
        admins=admins,
        admin_claim=parse_admin_claim(settings.jwt_admin_claim),
        name_claim=settings.jwt_name_claim,
        issuer=settings.jwt_issuer,
        client_id=settings.jwt_client_id,
        scope=settings.jwt_scope,
    )
    return TokenAuthenticator(TokenVerifiers(own, issuer), terms)


def cors_origins(settings: Settings) -> tuple[str, ...]:
    """The CORS origins of the settings. The default with tokens is all origins, because browsers do
    not send tokens by themselves, as they do with cookies. The default without tokens is loopback
    names only."""
    return parse_origins(settings.cors_origins) or (("*",) if settings.auth == "jwt" else ())


def address_limiter(settings: Settings, counts: RateCounters) -> AddressLimiter | None:
    """The limit on requests from one address; None if there is none."""
    rule = request_rule(settings.limits.rates)
    if rule is None:
        return None
    return AddressLimiter(SharedRateLimiter(counts, rule), _proxies(settings))


def file_senders(settings: Settings) -> TrustedProxies:
    """The proxies that send renditions themselves."""
    return _proxies(settings) if settings.accel_redirect else TrustedProxies()


def _proxies(settings: Settings) -> TrustedProxies:
    return TrustedProxies(networks(parse_list(settings.trusted_proxies)))
