"""Who is asking, on AWS: whom the gateway's JWT authorizer let in, or, where it lets everyone read,
whoever has a token that holds."""

from typing import Any

from image_poster.adapters.oidc import Claims, OidcTokenVerifier
from image_poster.domain.errors import IdentityRequiredError
from image_poster.domain.identity import Identity
from image_poster.http.requests import AnyRequest

_ADMIN_SCOPE = "admin"
_BEARER = "bearer "


class TokenAuthenticator:
    """`Authenticator` by bearer token (RFC 6750, section 2.1). The user is the claim `sub`."""

    def __init__(self, verifier: OidcTokenVerifier, admins: frozenset[str]) -> None:
        self._verifier = verifier
        self._admins = admins

    def identify(self, request: AnyRequest) -> Identity | None:
        claims = _checked_by_gateway(request) or self._checked_here(request)
        if claims is None:
            return None
        user = str(claims.get("sub", ""))
        if not user:
            raise IdentityRequiredError("The bearer token names nobody: it has no `sub`.")
        scopes = str(claims.get("scope", "")).split()
        return Identity(user, admin=user in self._admins or _ADMIN_SCOPE in scopes)

    def _checked_here(self, request: AnyRequest) -> Claims | None:
        sent = request.headers.get("authorization")
        if sent is None:
            return None
        if not sent.lower().startswith(_BEARER):
            raise IdentityRequiredError("Send the header `Authorization: Bearer TOKEN`.")
        return self._verifier.verify(sent[len(_BEARER) :].strip())


def _checked_by_gateway(request: AnyRequest) -> Claims | None:
    """The claims in the event (HTTP API, payload format 2.0), which nobody else can write."""
    event: dict[str, Any] = request.scope.get("aws.event", {})  # type: ignore[assignment]
    found: Claims | None = (
        event.get("requestContext", {}).get("authorizer", {}).get("jwt", {}).get("claims")
    )
    return found
