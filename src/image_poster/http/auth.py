"""Authentication: the headers of a request become an `Identity`. Both editions use this module.
Each authenticator also describes itself: in a sentence, in the 401's challenge, and in the OpenAPI
document."""

from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from image_poster.domain.errors import AdminsOnlyError, BusyError, IdentityRequiredError
from image_poster.domain.identity import NOT_FOR_ACCESS, OWN_ISSUER, UNUSABLE_USERS, Identity
from image_poster.http.addresses import AddressLimiter
from image_poster.http.requests import AnyRequest, check_json
from image_poster.services import Services

Claims = dict[str, Any]

_MAX_CHARACTERS = 128
# OpenID Connect Core 1.0, section 2, `sub`.
_MAX_SUBJECT_CHARACTERS = 255
# OpenID Connect Core 1.0, section 5.1, is where `preferred_username` is from; Cognito's id tokens
# have the first of these, its access tokens the second.
_NAME_CLAIMS = ("cognito:username", "username")
_SCOPE, _ADMIN_SCOPE = "scope", "admin"
_COGNITO_GROUPS = "cognito:groups"
# OpenID Connect Core 1.0, sections 2 and 3.3.2.11, and Back-Channel Logout 1.0, section 2.4.
_ID_TOKEN_CLAIMS = {"nonce", "at_hash", "c_hash"}
_LOGOUT_CLAIM = "events"
# By the claims in which Keycloak (`typ`) and Cognito (`token_use`) say what a token is.
_KINDS = ("typ", "token_use")
_ACCESS_KINDS, _OTHER_KINDS = {"bearer", "access"}, {"id", "logout", "refresh", "offline"}
_BEARER = "bearer "


class SignIn(msgspec.Struct, frozen=True):
    """The way to sign in, for pages: at `issuer`, as its client `client_id`, with the requested
    `scope` (OpenID Connect Core 1.0, section 3.1.2.1)."""

    mode: Literal["dev", "jwt"]
    issuer: str | None = None
    client_id: str | None = None
    scope: str | None = None


class Authenticator(Protocol):
    """A way to authenticate callers.

    `how` tells a person how to authenticate, as `challenge` tells a program. `schemes` are the
    names in `openapi.SCHEMES` that it accepts, and `sign_in` is for web pages.
    """

    how: str
    schemes: tuple[str, ...]
    sign_in: SignIn

    def challenge(self, request: AnyRequest, detail: str) -> str:
        """The `WWW-Authenticate` of a 401 (RFC 9110 section 11.6.1); `detail` is the problem's
        detail."""
        ...

    async def identify(self, request: AnyRequest) -> Identity | None:
        """The caller; None for an anonymous one. Raises `IdentityRequiredError` for an invalid
        credential."""
        ...

    async def sign_in_urls(self) -> tuple[str, ...]:
        """The URLs outside this service that a page requests in order to sign users in."""
        ...


class DevAuthenticator:
    """`auth=dev`: trusts the header `user-id`. Only for a developer's own machine."""

    how = "This request names no user. Send the header `user-id`."
    schemes: tuple[str, ...] = ("userId",)
    sign_in = SignIn("dev")

    def __init__(self, admins: frozenset[str] = frozenset()) -> None:
        self._admins = admins

    def challenge(self, _request: AnyRequest, _detail: str) -> str:
        return 'UserId header="user-id"'

    async def identify(self, request: AnyRequest) -> Identity | None:
        header = request.headers.get("user-id")
        if header is None:
            return None
        try:
            # ASGI passes a header's bytes as Latin-1; clients send UTF-8 for names beyond ASCII.
            user = header.encode("latin-1").decode().strip()
        except UnicodeError as exc:
            raise IdentityRequiredError("The header `user-id` must be UTF-8.") from exc
        if not user or len(user) > _MAX_CHARACTERS or not user.isprintable():
            raise IdentityRequiredError(
                f"The header `user-id` must have 1 to {_MAX_CHARACTERS} printable characters."
            )
        if user in UNUSABLE_USERS:
            raise IdentityRequiredError("The header `user-id` must not be `.` or `..`.")
        return Identity(user, admin=user in self._admins)

    async def sign_in_urls(self) -> tuple[str, ...]:
        return ()


class TokenVerifier(Protocol):
    """Checks bearer tokens."""

    async def verify(self, token: str) -> Claims:
        """The claims of a valid token. Raises `IdentityRequiredError`, and `BusyError` when the
        issuer cannot be reached."""
        ...

    async def token_endpoint(self) -> str:
        """The URL at which the issuer gives tokens to pages; empty if there is none, or none is
        known."""
        ...


class TokenTerms(msgspec.Struct, frozen=True):
    """Rules for tokens. `admins` are users; `admin_claim` is a claim and its value that make an
    admin; `name_claim` holds a person's name. `issuer`, `client_id` and `scope` are for pages."""

    admins: frozenset[str] = frozenset()
    admin_claim: tuple[str, str] | None = None
    name_claim: str = "preferred_username"
    issuer: str = ""
    client_id: str = ""
    scope: str = ""

    @property
    def sign_in(self) -> SignIn:
        """The sign-in parameters for web pages."""
        if not self.client_id:
            return SignIn("jwt", self.issuer or None)
        return SignIn("jwt", self.issuer, self.client_id, self.scope)


class TokenAuthenticator:
    """`auth=jwt`: by bearer token (RFC 6750, section 2.1). The user is the claim `sub`.

    `verified_claims` returns the claims of a token that a component in front of the service has
    verified. No client can write them.
    """

    how = "This request needs a signed-in user. Send the header `Authorization: Bearer TOKEN`."
    schemes: tuple[str, ...] = ("bearer",)

    def __init__(
        self,
        verifier: TokenVerifier,
        terms: TokenTerms,
        verified_claims: Callable[[AnyRequest], Claims | None] = lambda _request: None,
    ) -> None:
        self._verifier = verifier
        self._terms = terms
        self.sign_in = terms.sign_in
        self._verified_claims = verified_claims

    def challenge(self, request: AnyRequest, detail: str) -> str:
        """Tell a caller who sent a token that the token is invalid, and why, even if the response
        has no body. RFC 6750, section 3, limits the description's characters."""
        if _bearer(request) is None:
            return "Bearer"
        description = "".join(
            char if char.isascii() and char.isprintable() and char not in '"\\' else "'"
            for char in detail
        )
        return f'Bearer error="invalid_token", error_description="{description}"'

    async def identify(self, request: AnyRequest) -> Identity | None:
        claims = self._verified_claims(request) or await self._verify(request)
        if claims is None:
            return None
        if not _is_access_token(claims):
            raise IdentityRequiredError(NOT_FOR_ACCESS)
        user = claims.get("sub")
        if not isinstance(user, str) or not user.strip():
            raise IdentityRequiredError("The bearer token names no user: it has no claim `sub`.")
        is_usable = user.isprintable() and user not in UNUSABLE_USERS
        if len(user) > _MAX_SUBJECT_CHARACTERS or not is_usable:
            raise IdentityRequiredError(
                "The bearer token names no user: its claim `sub` is not valid."
            )
        admin = user in self._terms.admins or _is_admin(claims, self._terms.admin_claim)
        return Identity(user, admin=admin, display_name=self._name(claims))

    async def sign_in_urls(self) -> tuple[str, ...]:
        """The issuer, and its token endpoint, which may be on another host (Cognito's is)."""
        issuer, client = self._terms.issuer, self._terms.client_id
        if not client:
            return ()
        return tuple(filter(None, (issuer, await self._verifier.token_endpoint())))

    def _name(self, claims: Claims) -> str:
        """The first claim that can be displayed as an author's name; else empty."""
        for claim in (self._terms.name_claim, *_NAME_CLAIMS):
            value = claims.get(claim)
            name = value.strip() if isinstance(value, str) else ""
            if name and len(name) <= _MAX_CHARACTERS and name.isprintable():
                return name
        return ""

    async def _verify(self, request: AnyRequest) -> Claims | None:
        if "authorization" not in request.headers:
            return None
        token = _bearer(request)
        if token is None:
            raise IdentityRequiredError(self.how)
        return await self._verifier.verify(token)


def _bearer(request: AnyRequest) -> str | None:
    """The bearer token of the request; None if there is none."""
    sent = request.headers.get("authorization", "")
    return sent[len(_BEARER) :].strip() if sent.lower().startswith(_BEARER) else None


def _is_access_token(claims: Claims) -> bool:
    """False for an ID token, a logout token or a refresh token: none of them is meant for this
    service (RFC 8725, section 2.8). Some issuers also put a nonce into access tokens, and name the
    token's type."""
    kinds = {str(claims[name]).lower() for name in _KINDS if name in claims}
    if _LOGOUT_CLAIM in claims or not kinds.isdisjoint(_OTHER_KINDS):
        return False
    return not kinds.isdisjoint(_ACCESS_KINDS) or _ID_TOKEN_CLAIMS.isdisjoint(claims)


def _is_admin(claims: Claims, admin_claim: tuple[str, str] | None) -> bool:
    """True if the admin claim of the settings says so, or, for the service's own tokens, their
    scope."""
    if claims.get("iss") == OWN_ISSUER:
        return _ADMIN_SCOPE in _values(claims, _SCOPE)
    return admin_claim is not None and admin_claim[1] in _values(claims, admin_claim[0])


def _values(claims: Claims, name: str) -> list[Any]:
    """The values of a claim. Two claims that are a text have several values: scopes (RFC 8693,
    section 4.2), and Cognito's groups. API Gateway passes groups on as `[admins editors]`; their
    names have no spaces (CreateGroup, GroupName)."""
    claim = claims.get(name)
    if isinstance(claim, list):
        return claim
    if not isinstance(claim, str):
        return []
    if name == _COGNITO_GROUPS:
        return claim.strip("[]").split()
    return claim.split() if name == _SCOPE else [claim]


async def optional_identity(request: AnyRequest) -> Identity | None:
    """The caller; None for an anonymous one. Raises `IdentityRequiredError`, and `BusyError` when
    the identity cannot be checked."""
    state = request.scope["state"]
    if "identity" not in state:
        state["identity"] = await request.app.state.authenticator.identify(request)
    return state["identity"]  # type: ignore[no-any-return]


async def require_identity(request: AnyRequest) -> Identity:
    """The caller, who must be identified. Raises as `optional_identity`."""
    identity = await optional_identity(request)
    if identity is None:
        raise IdentityRequiredError(request.app.state.authenticator.how)
    return identity


async def identify_writer(request: AnyRequest, *, while_banned: bool = False) -> Identity:
    """Identify the caller, who must be allowed to write, and count a write. `while_banned`: the
    action is one that banned users may take. Raises as `require_identity`, `RateLimitedError`,
    `BannedError` and `AccountDeletedError`."""
    identity = await identify_counted_writer(request)
    services: Services = request.app.state.services
    await services.accounts.check_may_write(identity.user, while_banned=while_banned)
    return identity


async def identify_counted_writer(request: AnyRequest) -> Identity:
    """Identify the caller, and count a write, for an action that checks in its own transaction
    that the caller may write. A check before it would cost a tenth of a comment. Raises as
    `require_identity`, and `RateLimitedError`."""
    identity = await require_identity(request)
    services: Services = request.app.state.services
    await services.user_limits.count_write(identity)
    return identity


async def require_admin(request: AnyRequest) -> Identity:
    """The caller, who must be an admin. Raises as `require_identity`, and `AdminsOnlyError`."""
    identity = await require_identity(request)
    if not identity.admin:
        raise AdminsOnlyError
    return identity


async def check_viewer(request: AnyRequest) -> None:
    """Identify the reader before any other check of a request. Raises as `optional_identity`."""
    await optional_identity(request)


async def check_identity(request: AnyRequest) -> None:
    """Identify the caller before any other check of a request. Raises as `require_identity`, and
    `RateLimitedError`."""
    try:
        await require_identity(request)
    except (BusyError, IdentityRequiredError):
        addresses: AddressLimiter | None = request.app.state.addresses
        if addresses is not None:
            await addresses.count_anonymous(request.scope)
        raise


async def check_admin(request: AnyRequest) -> None:
    """Check that the caller is an admin before any other check of a request. Raises as
    `check_identity`, and `AdminsOnlyError`."""
    await check_identity(request)
    await require_admin(request)


async def check_json_admin(request: AnyRequest) -> None:
    """Check that the caller is an admin, and then the media type. Raises as `check_admin`, and
    `UnsupportedMediaTypeError`."""
    await check_admin(request)
    check_json(request)


async def check_json_writer(request: AnyRequest) -> None:
    """Check the caller's identity and the media type before a handler that reads JSON. Raises as
    `check_identity`, and `UnsupportedMediaTypeError`.

    (Not a guard, for which Litestar copies the handler each time.)
    """
    await check_identity(request)
    check_json(request)
