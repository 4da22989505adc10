"""Routes for operators and clients: health, readiness and the caller's identity."""

from collections.abc import Awaitable, Callable

import msgspec
from litestar import Response, get

from image_poster.domain import errors
from image_poster.http import openapi
from image_poster.http.auth import SignIn, authenticator, optional_identity
from image_poster.http.requests import AnyRequest
from image_poster.http.responses import json_response

Readiness = Callable[[], Awaitable[None]]


class Health(msgspec.Struct, frozen=True):
    """The state of the service."""

    status: str


class Me(msgspec.Struct, frozen=True):
    """The caller as others see them: `user` and `name` are null for an anonymous caller. `auth` is
    the way to sign in; members that do not apply are null."""

    user: str | None
    name: str | None
    admin: bool
    auth: SignIn


@get(
    "/me",
    operation_id="getMe",
    security=openapi.ANYONE,
    tags=["operations"],
    summary="Who am I, and how does one sign in?",
    responses=openapi.responses(
        {200: openapi.json_of(Me, "Who is asking.")}, errors.IdentityRequiredError
    ),
)
async def get_me(request: AnyRequest) -> Response[bytes]:
    """For anyone, also nobody. A token that does not hold is 401, here too."""
    who, sign_in = await optional_identity(request), authenticator(request).sign_in
    found = (
        Me(None, None, admin=False, auth=sign_in)
        if who is None
        else Me(who.user, who.name, admin=who.admin, auth=sign_in)
    )
    return json_response(msgspec.json.encode(found), headers={"cache-control": "no-store"})


@get(
    "/healthz",
    operation_id="getHealth",
    tags=["operations"],
    summary="Is the process alive?",
    responses=openapi.responses({200: openapi.json_of(Health, "It is.")}),
)
async def get_health() -> Response[bytes]:
    """Asks nothing of any store."""
    return json_response(msgspec.json.encode(Health("ok")))


@get(
    "/readyz",
    operation_id="getReadiness",
    tags=["operations"],
    summary="Can it take requests?",
    responses=openapi.responses({200: openapi.json_of(Health, "It can.")}, errors.NotReadyError),
)
async def get_readiness(request: AnyRequest) -> Response[bytes]:
    """503 exactly when a comment would be refused."""
    check: Readiness = request.app.state.readiness
    await check()
    return json_response(msgspec.json.encode(Health("ready")))


ROUTES = (get_me, get_health, get_readiness)
