"""Tokens that API Gateway's authorizer let pass: it checks signature, issuer, audience and time,
and the API's Lambda checks what they are for."""

from base64 import urlsafe_b64encode
from typing import Any

import httpx
import msgspec
import pytest

from image_poster.editions.aws.settings import AwsSettings

pytestmark = pytest.mark.anyio
COGNITO = {"sub": "a1", "username": "alice", "token_use": "access", "client_id": "pages"}


def bearer(**header: Any) -> dict[str, str]:
    head = urlsafe_b64encode(msgspec.json.encode({"alg": "RS256", "kid": "k", **header}))
    return {"authorization": f"Bearer {head.decode().rstrip('=')}.e30.eA"}


async def me(
    monkeypatch: pytest.MonkeyPatch,
    claims: dict[str, str],
    headers: dict[str, str],
    admin_claim: str = "",
) -> httpx.Response:
    """`GET /me` behind the authorizer, which found these claims (all are texts there)."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    from image_poster.editions.aws.api import compose

    settings = AwsSettings(
        signing_key="k", jwt_issuer="https://i.example", jwt_admin_claim=admin_claim
    )
    app: Any = compose(settings)

    async def behind_gateway(scope: Any, receive: Any, send: Any) -> None:
        event = {"requestContext": {"authorizer": {"jwt": {"claims": claims}}}}
        await app({**scope, "aws.event": event}, receive, send)

    transport = httpx.ASGITransport(behind_gateway)
    async with httpx.AsyncClient(transport=transport, base_url="http://aws") as http:
        return await http.get("/me", headers=headers)


@pytest.mark.parametrize(
    ("claims", "headers"),
    [
        ({"sub": "a1", "token_use": "id", "cognito:username": "alice"}, bearer()),
        ({"sub": "a1", "at_hash": "h"}, bearer()),
        ({"sub": "a1", "events": "map[a:map[]]"}, bearer()),
        ({"sub": "a1"}, bearer(typ="logout+jwt")),
        (COGNITO, bearer(typ="logout+jwt")),
        (COGNITO, {"authorization": "no token"}),
    ],
    ids=str,
)
async def test_only_access_tokens_are_taken(
    monkeypatch: pytest.MonkeyPatch, claims: dict[str, str], headers: dict[str, str]
) -> None:
    answer = await me(monkeypatch, claims, headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "identity_required")


@pytest.mark.parametrize(
    ("setting", "claims", "admin"),
    [
        ("cognito:groups=admins", {"cognito:groups": "[editors admins]"}, True),
        ("cognito:groups=admins", {"cognito:groups": "[editors]", "scope": "admin"}, False),
        ("", {"cognito:groups": "[admins]", "scope": "admin"}, False),
        ("scope=photos:admin", {"scope": "openid photos:admin"}, True),
    ],
)
async def test_admins_are_those_that_the_setting_names(
    monkeypatch: pytest.MonkeyPatch, setting: str, claims: dict[str, str], *, admin: bool
) -> None:
    for headers in (bearer(), bearer(typ="at+jwt"), {}):
        answer = await me(monkeypatch, COGNITO | claims, headers, setting)
        assert answer.json()["admin"] is admin
