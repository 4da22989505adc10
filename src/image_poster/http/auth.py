"""Who is asking: how a request's headers become an `Identity`. One module for both editions: each
authenticator also says how one proves who one is, in a sentence, in the 401's challenge, and in the
OpenAPI document."""

from collections.abc import Callable
from typing import Any, Protocol

from image_poster.domain.errors import IdentityRequiredError
from image_poster.domain.identity import Identity
from image_poster.http.requests import AnyRequest

Claims = dict[str, Any]

_MAX_CHARACTERS = 128
_ADMIN_SCOPE = "admin"
_BEARER = "bearer "


class Authenticator(Protocol):
    """One way to tell who is asking.

    `challenge` is the `WWW-Authenticate` of a 401 (RFC 9110 section 11.6.1), `how` says the same to
    a person, and `schemes` are those of `openapi.SCHEMES` that it takes.
    """

    challenge: str
    how: str
    schemes: tuple[str, ...]

    def identify(self, request: AnyRequest) -> Identity | None:
        """The caller; None for nobody. Raises `IdentityRequiredError` for a claim that does not
        hold."""
        ...


class DevAuthenticator:
    """`auth=dev`: believes the header `user-id`. For one's own machine only."""

    challenge = 'UserId header="user-id"'
    how = "Say who you are: send the header `user-id`."
    schemes: tuple[str, ...] = ("userId",)

    def __init__(self, admins: frozenset[str] = frozenset()) -> None:
        self._admins = admins

    def identify(self, request: AnyRequest) -> Identity | None:
        claimed = request.headers.get("user-id")
        if claimed is None:
            return None
        user = _utf8(claimed).strip()
        if not user or len(user) > _MAX_CHARACTERS or not user.isprintable():
            raise IdentityRequiredError(
                f"The header `user-id` must have 1 to {_MAX_CHARACTERS} printable characters."
            )
        return Identity(user, admin=user in self._admins)


def _utf8(value: str) -> str:
    """Header bytes reach us as Latin-1 (ASGI); clients with names beyond ASCII send UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError as exc:
        raise IdentityRequiredError("The header `user-id` must be UTF-8.") from exc


class TokenVerifier(Protocol):
    """Checks bearer tokens."""

    def verify(self, token: str) -> Claims:
        """The claims of a token that holds. Raises `IdentityRequiredError`, and `BusyError` when
        the issuer cannot be asked."""
        ...


def nobody_checked(_request: AnyRequest) -> Claims | None:
    """Where nothing before the service checks tokens."""
    return None


class TokenAuthenticator:
    """`auth=jwt`: by bearer token (RFC 6750, section 2.1). The user is the claim `sub`.

    `checked` gives the claims of a token that something before the service has checked already, and
    that nobody else can write.
    """

    challenge = "Bearer"
    how = "Say who you are: send the header `Authorization: Bearer TOKEN`."
    schemes: tuple[str, ...] = ("bearer",)

    def __init__(
        self,
        verifier: TokenVerifier,
        admins: frozenset[str],
        checked: Callable[[AnyRequest], Claims | None] = nobody_checked,
    ) -> None:
        self._verifier = verifier
        self._admins = admins
        self._checked = checked

    def identify(self, request: AnyRequest) -> Identity | None:
        claims = self._checked(request) or self._verified(request)
        if claims is None:
            return None
        user = str(claims.get("sub", ""))
        if not user:
            raise IdentityRequiredError("The bearer token names nobody: it has no `sub`.")
        scopes = str(claims.get("scope", "")).split()
        return Identity(user, admin=user in self._admins or _ADMIN_SCOPE in scopes)

    def _verified(self, request: AnyRequest) -> Claims | None:
        sent = request.headers.get("authorization")
        if sent is None:
            return None
        if not sent.lower().startswith(_BEARER):
            raise IdentityRequiredError("Send the header `Authorization: Bearer TOKEN`.")
        return self._verifier.verify(sent[len(_BEARER) :].strip())


def authenticator(request: AnyRequest) -> Authenticator:
    """That of the edition that serves."""
    found: Authenticator = request.app.state.authenticator
    return found


def viewer(request: AnyRequest) -> Identity | None:
    """Who is reading; None for nobody in particular."""
    return authenticator(request).identify(request)


def caller(request: AnyRequest) -> Identity:
    """Who is writing. Raises `IdentityRequiredError`."""
    identity = viewer(request)
    if identity is None:
        raise IdentityRequiredError(authenticator(request).how)
    return identity
