"""Checks tokens against the keys that their issuer publishes.

OpenID Connect Discovery 1.0, section 4 (where the keys are); RFC 7515 and 7519 (the token);
RFC 8725 (what to look at: algorithm, issuer, audience, time).
"""

import time
from base64 import urlsafe_b64decode
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import msgspec

from image_poster.domain.errors import BusyError, IdentityRequiredError

Claims = dict[str, Any]
_ALGORITHMS = ["RS256", "ES256"]
_KEYS_KEPT_SECONDS = 3600
_KEYS_APART_SECONDS = 60
_TIMEOUT_SECONDS = 5
_LOOPBACK = {"127.0.0.1", "localhost"}


class OidcTokenVerifier:
    """For one issuer and the audiences that we are. Keys are fetched when first needed, and again
    for a token with a key that is new, though not more often than once a minute."""

    def __init__(self, issuer: str, audiences: tuple[str, ...]) -> None:
        self._issuer = issuer
        self._audiences = audiences
        self._keys: Any = None
        self._fetched = float("-inf")

    def verify(self, token: str) -> Claims:
        """The claims of a token that holds. Raises `IdentityRequiredError`, and `BusyError` when
        the issuer cannot be asked."""
        # Here, for a cold Lambda needs this only for those who read with a token.
        from joserfc import errors, jwt  # noqa: PLC0415

        registry = jwt.JWTClaimsRegistry(
            leeway=30,
            iss={"essential": True, "value": self._issuer},
            exp={"essential": True},
        )
        try:
            found = jwt.decode(token, self._key_set(_key_id(token)), algorithms=_ALGORITHMS)
            registry.validate(found.claims)
        except (errors.JoseError, ValueError) as exc:
            raise IdentityRequiredError(_REFUSED) from exc
        self._check_audience(found.claims)
        return found.claims

    def _check_audience(self, claims: Claims) -> None:
        """As API Gateway does: `aud`, or `client_id` where there is none (access tokens of
        Cognito)."""
        named = claims.get("aud") or claims.get("client_id") or []
        for_whom = {named} if isinstance(named, str) else set(named)
        if not for_whom & set(self._audiences):
            raise IdentityRequiredError(_REFUSED)

    def _key_set(self, key_id: str) -> Any:  # noqa: ANN401 - joserfc's
        from joserfc.jwk import KeySet  # noqa: PLC0415

        age = time.monotonic() - self._fetched
        known = self._keys is not None and key_id in {key.kid for key in self._keys}
        if age > (_KEYS_KEPT_SECONDS if known else _KEYS_APART_SECONDS):
            found = _fetched(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            self._keys = KeySet.import_key_set(_fetched(found["jwks_uri"]))
            self._fetched = time.monotonic()
        return self._keys


class _Header(msgspec.Struct):
    kid: str = ""


def _key_id(token: str) -> str:
    """RFC 7515, section 4.1.4. Raises `ValueError`."""
    head = token.partition(".")[0]
    return msgspec.json.decode(urlsafe_b64decode(head + "=" * (-len(head) % 4)), type=_Header).kid


_REFUSED = "The bearer token is not valid (any more). Sign in again."


def _fetched(url: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    place = urlsplit(url)
    if place.scheme != "https" and place.hostname not in _LOOPBACK:
        raise ValueError(f"an issuer must be at an https URL, not {url}")
    try:
        with urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked above
            return msgspec.json.decode(answer.read())
    except (URLError, TimeoutError, msgspec.DecodeError) as exc:
        raise BusyError("Who you are cannot be checked just now. Try again in a moment.") from exc
