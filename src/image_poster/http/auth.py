"""Who is asking: how a request's headers become an `Identity`."""

from typing import Protocol

from image_poster.domain.errors import IdentityRequiredError
from image_poster.domain.identity import Identity
from image_poster.http.requests import AnyRequest

_MAX_CHARACTERS = 128


class Authenticator(Protocol):
    """One way to tell who is asking."""

    def identify(self, request: AnyRequest) -> Identity | None:
        """The caller; None for nobody. Raises `IdentityRequiredError` for a claim that does not
        hold."""
        ...


class DevAuthenticator:
    """`auth=dev`: believes the header `user-id`. For one's own machine only."""

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


def viewer(request: AnyRequest) -> Identity | None:
    """Who is reading; None for nobody in particular."""
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator.identify(request)


def caller(request: AnyRequest) -> Identity:
    """Who is writing. Raises `IdentityRequiredError`."""
    identity = viewer(request)
    if identity is None:
        raise IdentityRequiredError
    return identity
