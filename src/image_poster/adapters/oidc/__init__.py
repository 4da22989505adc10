"""Verification of bearer tokens. An OpenID Connect issuer's tokens are checked against its
published keys, and the service's own tokens against the key in its data folder.

OpenID Connect Discovery 1.0, section 4 (the address of the keys); RFC 7515 and 7519 (the token);
RFC 8725 (the checks: algorithm, issuer, audience, time). All editions accept RS256 only: the JWT
authorizer of API Gateway's HTTP APIs checks no other algorithm.
"""

import hashlib
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
import structlog

from image_poster.adapters.oidc.issuer_keys import IssuerKeys, import_key
from image_poster.domain.errors import BusyError, IdentityRequiredError
from image_poster.domain.identity import NOT_FOR_ACCESS
from image_poster.domain.identity import OWN_ISSUER as OWN_ISSUER

Claims = dict[str, Any]
Document = TypeVar("Document")
# The file of the users whose own tokens were revoked.
REVOCATIONS = "revocations.json"
# The claim of the service's own tokens that names their series.
SERIES = "series"
_ALGORITHM = "RS256"
# RFC 7519, section 5.1, and RFC 9068, section 2.1. Other types are no access tokens, such as
# `logout+jwt` (OpenID Connect Back-Channel Logout 1.0, section 2.4).
_TYPES = {"", "jwt", "at+jwt"}
_LEEWAY_SECONDS = 30
_REFUSED = "The bearer token is not valid. Sign in again."
_EXPIRED = "The bearer token has expired. Sign in again."
_REVOKED = "The bearer token was revoked. Get a new token."
_UNCHECKED = "The bearer token cannot be checked at the moment. Try again in a moment."

_log = structlog.get_logger()


class _Header(msgspec.Struct):
    """RFC 7515, section 4.1."""

    alg: str
    kid: str = ""
    typ: str = ""


class _Issued(msgspec.Struct):
    """RFC 7519, section 4.1.1."""

    iss: str = ""


def _decode_part(token: str, index: int, kind: type[Document]) -> Document:
    """Decode a part of a token, without any check. Raises `IdentityRequiredError`."""
    try:
        part = token.split(".")[index]
        decoded = urlsafe_b64decode(part + "=" * (-len(part) % 4))
        return msgspec.json.decode(decoded, type=kind)
    except (IndexError, RecursionError, ValueError) as exc:
        raise IdentityRequiredError(_REFUSED) from exc


def check_header(token: str) -> str:
    """The key id of a token. Raises `IdentityRequiredError` if its algorithm is not RS256 (RFC
    8725, section 3.1), or its type is not that of an access token (section 3.11)."""
    header = _decode_part(token, 0, _Header)
    if header.alg != _ALGORITHM:
        raise IdentityRequiredError(f"The bearer token must be signed with {_ALGORITHM}.")
    if header.typ.lower().removeprefix("application/") not in _TYPES:
        raise IdentityRequiredError(NOT_FOR_ACCESS)
    return header.kid


def _verify_claims(token: str, key: Any, issuer: str, audiences: frozenset[str]) -> Claims:  # noqa: ANN401 - joserfc's
    """The claims of a token, after checks of signature, issuer, audience and expiry. Raises
    `IdentityRequiredError`."""
    # Here, for a cold Lambda needs this only for those who read with a token.
    from joserfc import errors, jwt  # noqa: PLC0415

    registry = jwt.JWTClaimsRegistry(
        leeway=_LEEWAY_SECONDS,
        iss={"essential": True, "value": issuer},
        exp={"essential": True},
    )
    try:
        decoded = jwt.decode(token, key, algorithms=[_ALGORITHM])
        registry.validate(decoded.claims)
    except errors.ExpiredTokenError as exc:
        raise IdentityRequiredError(_EXPIRED) from exc
    except (errors.JoseError, RecursionError, ValueError) as exc:
        raise IdentityRequiredError(_REFUSED) from exc
    _check_audience(decoded.claims, audiences)
    return decoded.claims


def _check_audience(claims: Claims, audiences: frozenset[str]) -> None:
    """Check `aud`, or `client_id` if there is no `aud` (access tokens of Cognito), as API Gateway
    does. Raises `IdentityRequiredError`."""
    named = claims.get("aud") or claims.get("client_id") or []
    names = named if isinstance(named, list) else [named]
    if not any(name in audiences for name in names if isinstance(name, str)):
        raise IdentityRequiredError(_REFUSED)


class OidcTokenVerifier:
    """Verifies tokens of one issuer for this service's audiences. A known key stays valid while the
    issuer fails. `seconds` is a monotonic clock."""

    def __init__(
        self,
        issuer: str,
        audiences: tuple[str, ...],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._audiences = frozenset(audiences)
        self._keys = IssuerKeys(issuer, seconds)

    async def verify(self, token: str) -> Claims:
        """The claims of a token that holds. Raises `IdentityRequiredError`, and `BusyError` when
        the issuer cannot be asked."""
        key_id = check_header(token)
        await self._keys.refresh(is_known=key_id in self._keys.documents.keys)
        key = self._keys.documents.keys.get(key_id)
        if key is not None:
            return _verify_claims(token, key, self._issuer, self._audiences)
        if not self._keys.are_current:
            raise BusyError(_UNCHECKED)
        raise IdentityRequiredError(_REFUSED)

    async def token_endpoint(self) -> str:
        """The URL for requests of tokens (OpenID Connect Discovery 1.0, section 3). Its host may
        differ from the issuer's. It is empty until the issuer's document is read."""
        if not self._keys.documents.token_endpoint:
            await self._keys.refresh(is_known=bool(self._keys.documents.keys))
        return self._keys.documents.token_endpoint


class _WatchedFile(Generic[Document]):
    """A file's content, read again when the file has changed. Each access checks the file's state,
    so every process sees a change at once."""

    def __init__(self, path: Path, read: Callable[[bytes], Document]) -> None:
        self._path = path
        self._read = read
        self._state: tuple[int, int, int] | None = None
        self._content: Document

    def content(self) -> Document:
        """The decoded content. Raises `OSError`, and `ValueError` for a damaged file."""
        status = self._path.stat()
        # Another file, or other content, differs in one of these.
        state = (status.st_ino, status.st_mtime_ns, status.st_size)
        if state != self._state:
            self._content = self._read(self._path.read_bytes())
            self._state = state
        return self._content


def read_series(content: bytes) -> dict[str, str]:
    """Decode the file of revocations: the current series of each user whose tokens were revoked, by
    `user_digest`. Raises `ValueError`."""
    return msgspec.json.decode(content, type=dict[str, str])


def user_digest(user: str) -> str:
    """The key of a user in the file of revocations. It is no name, because the entry of a deleted
    account stays: its tokens must stay revoked."""
    return f"sha256:{hashlib.sha256(user.encode()).hexdigest()}"


def series_of(series: dict[str, str], user: str) -> str | None:
    """The user's current series; None if no token was revoked. Earlier versions stored the name
    itself."""
    return series.get(user_digest(user), series.get(user)) if series else None


class OwnTokenVerifier:
    """Verifies the service's own tokens with the key in `path`, and the file of revocations in the
    same folder, if there is one."""

    def __init__(self, path: Path) -> None:
        self._key = _WatchedFile(path, import_key)
        self._series = _WatchedFile(path.with_name(REVOCATIONS), read_series)

    async def verify(self, token: str) -> Claims:
        """The claims of a token that holds. Raises `IdentityRequiredError`, and `BusyError` when
        the files cannot be read."""
        check_header(token)
        try:
            key, series = self._key.content(), self._revocations()
        except (OSError, ValueError) as exc:
            _log.exception("the key of the service's own tokens cannot be read")
            raise BusyError(_UNCHECKED) from exc
        claims = _verify_claims(token, key, OWN_ISSUER, frozenset({OWN_ISSUER}))
        if claims.get(SERIES) != series_of(series, str(claims.get("sub"))):
            raise IdentityRequiredError(_REVOKED)
        return claims

    def _revocations(self) -> dict[str, str]:
        try:
            return self._series.content()
        except FileNotFoundError:
            return {}


class TokenVerifiers:
    """Verifies the service's own tokens and, if there is an issuer, its tokens. The token's `iss`
    selects the verifier, which checks it."""

    def __init__(self, own: OwnTokenVerifier, issuer: OidcTokenVerifier | None) -> None:
        self._own = own
        self._issuer = issuer

    async def verify(self, token: str) -> Claims:
        """The claims of a valid token. Raises `IdentityRequiredError` and `BusyError`."""
        if self._issuer is None or _decode_part(token, 1, _Issued).iss == OWN_ISSUER:
            return await self._own.verify(token)
        return await self._issuer.verify(token)

    async def token_endpoint(self) -> str:
        """The issuer's token endpoint; empty without an issuer."""
        return "" if self._issuer is None else await self._issuer.token_endpoint()


def new_key() -> bytes:
    """A new key for RS256, as PEM (PKCS #8)."""
    from joserfc.jwk import RSAKey  # noqa: PLC0415

    return RSAKey.generate_key(2048, auto_kid=True).as_pem(private=True)


def own_token(
    key: bytes, user: str, *, seconds: int, admin: bool = False, series: str | None = None
) -> str:
    """A token of the service, valid for `seconds` from now, with the user's `series`. Raises
    `ValueError` if `key` is no key."""
    from joserfc import jwt  # noqa: PLC0415

    now = int(time.time())
    claims = {"iss": OWN_ISSUER, "aud": OWN_ISSUER, "sub": user, "iat": now, "exp": now + seconds}
    if admin:
        claims["scope"] = "admin"
    if series is not None:
        claims[SERIES] = series
    signing = import_key(key)
    signing.ensure_kid()
    header = {"alg": _ALGORITHM, "kid": signing.kid, "typ": "JWT"}
    return jwt.encode(header, claims, signing)
