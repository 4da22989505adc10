"""Checks bearer tokens: those of an OpenID Connect issuer, against the keys that it publishes, and
the service's own, against the key in its data folder.

OpenID Connect Discovery 1.0, section 4 (where the keys are); RFC 7515 and 7519 (the token);
RFC 8725 (what to look at: algorithm, issuer, audience, time). Only RS256 is taken, by all alike:
API Gateway checks no other in an HTTP API's JWT authorizer.
"""

import asyncio
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit
from urllib.request import urlopen

import msgspec
import structlog

from image_poster.domain.errors import BusyError, IdentityRequiredError

Claims = dict[str, Any]
Document = TypeVar("Document")
# The issuer and the audience of the service's own tokens: no URL, so no other issuer is called so.
OWN_ISSUER = "image-poster"
_ALGORITHM = "RS256"
_LEEWAY_SECONDS = 30
_KEYS_KEPT_SECONDS = 3600
_KEYS_APART_SECONDS = 60
_OUTAGE_APART_SECONDS = 5
_SILENCE_SECONDS = 5
_FETCH_SECONDS = 10
_PAGE_SECONDS = 2
_MAX_DOCUMENT_BYTES = 1_000_000
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_REFUSED = "The bearer token is not valid. Sign in again."
_RUN_OUT = "The bearer token has run out. Sign in again."
_UNCHECKED = "Who you are cannot be checked just now. Try again in a moment."

_log = structlog.get_logger()


class _Header(msgspec.Struct):
    """RFC 7515, section 4.1."""

    alg: str
    kid: str = ""


class _Issued(msgspec.Struct):
    """RFC 7519, section 4.1.1."""

    iss: str = ""


class _Discovery(msgspec.Struct):
    """OpenID Connect Discovery 1.0, section 3."""

    issuer: str
    jwks_uri: str
    token_endpoint: str = ""


class _Published(NamedTuple):
    """What an issuer says of itself: its keys for RS256 by their ids, and where it gives tokens."""

    keys: Mapping[str, Any]
    token_endpoint: str


class _KeySet(msgspec.Struct):
    """RFC 7517, section 5."""

    keys: list[dict[str, Any]]


def _part(token: str, index: int, kind: type[Document]) -> Document:
    """A part of a token that nobody has checked yet. Raises `IdentityRequiredError`."""
    try:
        part = token.split(".")[index]
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        return msgspec.json.decode(decoded, type=kind)
    except (IndexError, ValueError) as exc:
        raise IdentityRequiredError(_REFUSED) from exc


def _header(token: str) -> _Header:
    """Raises `IdentityRequiredError` for another algorithm than ours (RFC 8725, section 3.1)."""
    found = _part(token, 0, _Header)
    if found.alg != _ALGORITHM:
        raise IdentityRequiredError(f"The bearer token must be signed with {_ALGORITHM}.")
    return found


def _checked(token: str, key: Any, issuer: str, audiences: frozenset[str]) -> Claims:  # noqa: ANN401 - joserfc's
    """The claims of a token that `key` signed, of this issuer, for one of us, and in its time.
    Raises `IdentityRequiredError`."""
    # Here, for a cold Lambda needs this only for those who read with a token.
    from joserfc import errors, jwt  # noqa: PLC0415

    registry = jwt.JWTClaimsRegistry(
        leeway=_LEEWAY_SECONDS,
        iss={"essential": True, "value": issuer},
        exp={"essential": True},
    )
    try:
        found = jwt.decode(token, key, algorithms=[_ALGORITHM])
        registry.validate(found.claims)
    except errors.ExpiredTokenError as exc:
        raise IdentityRequiredError(_RUN_OUT) from exc
    except (errors.JoseError, ValueError) as exc:
        raise IdentityRequiredError(_REFUSED) from exc
    _check_audience(found.claims, audiences)
    return found.claims


def _check_audience(claims: Claims, audiences: frozenset[str]) -> None:
    """As API Gateway does: `aud`, or `client_id` where there is none (access tokens of Cognito).
    Raises `IdentityRequiredError`."""
    named = claims.get("aud") or claims.get("client_id") or []
    for_whom = named if isinstance(named, list) else [named]
    if not any(one in audiences for one in for_whom if isinstance(one, str)):
        raise IdentityRequiredError(_REFUSED)


class OidcTokenVerifier:
    """For one issuer and the audiences that we are.

    Keys are fetched when first needed, each hour, and for a token with a key that is new, though
    not more often than once a minute. An issuer that does not answer is asked again after 5
    seconds; meanwhile keys that are known are good, and no other token can be checked.
    """

    def __init__(
        self,
        issuer: str,
        audiences: tuple[str, ...],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._seconds = seconds
        self._audiences = frozenset(audiences)
        self._published = _Published({}, "")
        self._fetched = float("-inf")
        self._failed = float("-inf")
        self._fetching = asyncio.Lock()

    async def verify(self, token: str) -> Claims:
        """The claims of a token that holds. Raises `IdentityRequiredError`, and `BusyError` when
        the issuer cannot be asked."""
        key_id = _header(token).kid
        await self._learn(lambda: self._is_due(known=key_id in self._published.keys))
        key = self._published.keys.get(key_id)
        if key is not None:
            return _checked(token, key, self._issuer, self._audiences)
        if self._failed > self._fetched:
            raise BusyError(_UNCHECKED)
        raise IdentityRequiredError(_REFUSED)

    async def token_endpoint(self) -> str:
        """The URL at which pages get tokens (OpenID Connect Discovery 1.0, section 3), which need
        not be of the issuer's host; empty while the issuer has not said. A page does not wait for
        that longer than 2 seconds."""
        if not self._published.token_endpoint:
            learning = asyncio.create_task(self._learn(lambda: self._is_due(known=True)))
            await asyncio.wait({learning}, timeout=_PAGE_SECONDS)
        return self._published.token_endpoint

    async def _learn(self, is_due: Callable[[], bool]) -> None:
        """Once for all who need it at the same time."""
        if is_due():
            async with self._fetching:
                if is_due():
                    await self._fetch()

    def _is_due(self, *, known: bool) -> bool:
        now = self._seconds()
        if now - self._failed < _OUTAGE_APART_SECONDS:
            return False
        return now - self._fetched > (_KEYS_KEPT_SECONDS if known else _KEYS_APART_SECONDS)

    async def _fetch(self) -> None:
        """In a thread, since it waits for somebody else; others who need it wait for it too."""
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                self._published = await asyncio.to_thread(_published, self._issuer)
        except (OSError, HTTPException, ValueError) as exc:
            self._failed = self._seconds()
            _log.warning("the issuer of tokens cannot be asked", issuer=self._issuer, why=str(exc))
        else:
            self._fetched = self._seconds()


def _published(issuer: str) -> _Published:
    """Raises `OSError`, `HTTPException`, and `ValueError` for documents that are not what they
    should be."""
    found = _fetched(f"{issuer.rstrip('/')}/.well-known/openid-configuration", _Discovery)
    if found.issuer != issuer:  # OpenID Connect Discovery 1.0, section 4.3
        raise ValueError(f"it calls itself {found.issuer}")
    keys = _fetched(found.jwks_uri, _KeySet).keys
    usable = [key for key in keys if key.get("kty") == "RSA" and key.get("use", "sig") == "sig"]
    by_id = {str(key["kid"]): _imported(key) for key in usable if key.get("kid")}
    return _Published(by_id, found.token_endpoint)


def _imported(key: Any) -> Any:  # noqa: ANN401 - joserfc's
    """Raises `ValueError`."""
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import RSAKey  # noqa: PLC0415

    try:
        return RSAKey.import_key(key)
    except (JoseError, TypeError, ValueError) as exc:
        raise ValueError("it is no RSA key") from exc


def _fetched(url: str, kind: type[Document]) -> Document:
    _check_url(url)
    with urlopen(url, timeout=_SILENCE_SECONDS) as answer:  # noqa: S310 - checked above
        return msgspec.json.decode(answer.read(_MAX_DOCUMENT_BYTES), type=kind)


def _check_url(url: str) -> None:
    """A document from elsewhere must come by https. Raises `ValueError`."""
    place = urlsplit(url)
    is_here = place.scheme == "http" and place.hostname in _LOOPBACK
    if not (place.hostname and (place.scheme == "https" or is_here)):
        raise ValueError(f"{url} is no https URL")


class _KeyFile(NamedTuple):
    """Which state of a file was read: another file, or other content, differs in one of these."""

    inode: int
    mtime_ns: int
    size: int


class OwnTokenVerifier:
    """For the service's own tokens. The key's file is looked at each time, so that a new key counts
    at once in every process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: _KeyFile | None = None
        self._key: Any = None

    async def verify(self, token: str) -> Claims:
        """The claims of a token that holds. Raises `IdentityRequiredError`, and `BusyError` when
        the key cannot be read."""
        _header(token)
        try:
            self._refresh()
        except (OSError, ValueError) as exc:
            _log.exception("the key of the service's own tokens cannot be read")
            raise BusyError(_UNCHECKED) from exc
        return _checked(token, self._key, OWN_ISSUER, frozenset({OWN_ISSUER}))

    def _refresh(self) -> None:
        found = self._path.stat()
        state = _KeyFile(found.st_ino, found.st_mtime_ns, found.st_size)
        if state != self._read:
            self._key = _imported(self._path.read_bytes())
            self._read = state


class TokenVerifiers:
    """Takes the service's own tokens, and those of an issuer beside them. Which of the two a token
    claims to be of only decides who checks it."""

    def __init__(self, own: OwnTokenVerifier, issuer: OidcTokenVerifier | None) -> None:
        self._own = own
        self._issuer = issuer

    async def verify(self, token: str) -> Claims:
        """As each of them."""
        if self._issuer is None or _part(token, 1, _Issued).iss == OWN_ISSUER:
            return await self._own.verify(token)
        return await self._issuer.verify(token)

    async def token_endpoint(self) -> str:
        """That of the issuer; empty without one."""
        return "" if self._issuer is None else await self._issuer.token_endpoint()


def new_key() -> bytes:
    """A new key for RS256, as PEM (PKCS #8)."""
    from joserfc.jwk import RSAKey  # noqa: PLC0415

    return RSAKey.generate_key(2048, auto_kid=True).as_pem(private=True)


def own_token(key: bytes, user: str, *, seconds: int, admin: bool = False) -> str:
    """A token of the service's own, good for so many seconds from now. Raises `ValueError` for a
    `key` that is none."""
    from joserfc import jwt  # noqa: PLC0415

    now = int(time.time())
    claims = {"iss": OWN_ISSUER, "aud": OWN_ISSUER, "sub": user, "iat": now, "exp": now + seconds}
    signing = _imported(key)
    signing.ensure_kid()
    header = {"alg": _ALGORITHM, "kid": signing.kid, "typ": "JWT"}
    return jwt.encode(header, claims | ({"scope": "admin"} if admin else {}), signing)
