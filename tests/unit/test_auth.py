"""Identity: each authenticator, with each of its proofs."""

from typing import Any

import msgspec
import pytest
from litestar.testing import RequestFactory, TestClient

from image_poster.domain.errors import IdentityRequiredError
from image_poster.domain.ids import new_id
from image_poster.domain.signing import Signer
from image_poster.http.app import HttpSettings, litestar_app
from image_poster.http.auth import (
    Authenticator,
    Claims,
    DevAuthenticator,
    TokenAuthenticator,
    TokenTerms,
)
from image_poster.http.gallery import origins_of
from image_poster.http.requests import AnyRequest
from image_poster.http.uploads import HmacPutUrlSigner
from support.services import services


class NoIssuer:
    """Gives tokens to no page."""

    async def token_endpoint(self) -> str:
        return ""


class OneToken(NoIssuer):
    """Knows one token."""

    async def verify(self, token: str) -> Claims:
        if token != "alices":  # noqa: S105 - a name in a test
            raise IdentityRequiredError("The bearer token is not valid.")
        return {"sub": "alice"}


class Claimed(NoIssuer):
    """Believes whatever it was made with."""

    def __init__(self, **claims: Any) -> None:
        self.claims: Claims = claims

    async def verify(self, _token: str) -> Claims:
        return self.claims


DEV, JWT = DevAuthenticator(), TokenAuthenticator(OneToken(), TokenTerms())


async def ready() -> None:
    """It is."""


def client(authenticator: Authenticator) -> TestClient[Any]:
    settings = HttpSettings(authenticator, HmacPutUrlSigner(Signer(b"")))
    return TestClient(litestar_app(services(), ready, settings))


@pytest.mark.parametrize(
    ("authenticator", "challenge", "header"),
    [(DEV, 'UserId header="user-id"', "`user-id`"), (JWT, "Bearer", "`Authorization: Bearer")],
    ids=["dev", "jwt"],
)
def test_nobody_is_told_how_to_say_who_they_are(
    authenticator: Authenticator, challenge: str, header: str
) -> None:
    with client(authenticator) as api:
        answer = api.delete(f"/posts/{new_id()}")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == challenge
    assert header in answer.json()["detail"]


@pytest.mark.parametrize(
    ("authenticator", "theirs", "others"),
    [
        (DEV, {"user-id": "alice"}, {"authorization": "Bearer alices"}),
        (JWT, {"authorization": "Bearer alices"}, {"user-id": "alice"}),
    ],
    ids=["dev", "jwt"],
)
def test_one_way_means_nothing_to_the_other(
    authenticator: Authenticator, theirs: dict[str, str], others: dict[str, str]
) -> None:
    path = f"/posts/{new_id()}"
    with client(authenticator) as api:
        assert api.delete(path, headers=theirs).status_code == 404
        assert api.delete(path, headers=others).status_code == 401


@pytest.mark.parametrize(
    ("authenticator", "scheme"), [(DEV, "userId"), (JWT, "bearer")], ids=["dev", "jwt"]
)
def test_the_document_names_the_way_in_force_at_every_write(
    authenticator: Authenticator, scheme: str
) -> None:
    with client(authenticator) as api:
        document = msgspec.json.decode(api.get("/openapi.json").content)
    assert set(document["components"]["securitySchemes"]) == {scheme}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in ("post", "patch", "delete"):
                assert operation["security"] == [{scheme: []}], (method, path)


@pytest.mark.parametrize(
    ("sent", "challenge"),
    [
        (
            {"authorization": "Bearer bobs"},
            'Bearer error="invalid_token", error_description="The bearer token is not valid."',
        ),
        ({"authorization": "Basic YTpi"}, "Bearer"),
        ({"authorization": ""}, "Bearer"),
        ({"user-id": "alice"}, "Bearer"),
    ],
    ids=str,
)
def test_who_sent_a_token_learns_that_it_is_the_token(sent: dict[str, str], challenge: str) -> None:
    """RFC 6750, section 3.1."""
    with client(JWT) as api:
        answer = api.delete(f"/posts/{new_id()}", headers=sent)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, challenge)
    assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize("subject", [None, "", " ", 7, ["alice"], "a\nb", "x" * 256, ".."], ids=str)
def test_a_token_must_name_somebody(subject: object) -> None:
    claims = {} if subject is None else {"sub": subject}
    with client(TokenAuthenticator(Claimed(**claims), TokenTerms())) as api:
        answer = api.delete(f"/posts/{new_id()}", headers={"authorization": "Bearer its"})
    assert answer.status_code == 401
    assert "names no user" in answer.json()["detail"]


async def is_admin(claims: Claims, **terms: Any) -> bool:
    authenticator = TokenAuthenticator(Claimed(**claims), TokenTerms(**terms))
    request: AnyRequest = RequestFactory().get(headers={"authorization": "Bearer its"})
    identity = await authenticator.identify(request)
    assert identity is not None
    return identity.admin


@pytest.mark.anyio
@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "openid admin"},
        {"groups": ["editors", "admins"]},
        {"cognito:groups": ["admins"]},
        {"cognito:groups": "[editors admins]"},
        {"admin": True, "roles": ["admin"], "iss": "https://image-poster"},
    ],
    ids=str,
)
async def test_no_claim_makes_an_admin_unless_a_setting_says_so(claims: Claims) -> None:
    assert not await is_admin({"sub": "a", **claims}, admins=frozenset({"root"}))
    assert await is_admin({"sub": "root", **claims}, admins=frozenset({"root"}))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("setting", "claims", "admin"),
    [
        ("groups=admins", {"groups": ["editors", "admins"]}, True),
        ("groups=admins", {"groups": "admins"}, True),
        ("groups=photo admins", {"groups": ["photo admins"]}, True),
        ("cognito:groups=admins", {"cognito:groups": ["admins"]}, True),
        ("cognito:groups=admins", {"cognito:groups": "[editors admins]"}, True),
        ("scope=photos:admin", {"scope": "openid photos:admin"}, True),
        ("https://a.example/role=x=y", {"https://a.example/role": "x=y"}, True),
        ("groups=admins", {"groups": ["not admins", ["admins"], 7]}, False),
        ("groups=admins", {"groups": "not admins"}, False),
        ("groups=admins", {"groups": "[not admins]"}, False),
        ("groups=admins", {"scope": "admin", "cognito:groups": ["admins"]}, False),
        ("groups=admins", {"groups": {"admins": True}}, False),
        ("cognito:groups=admins", {"cognito:groups": 7}, False),
        ("scope=admin", {"scope": "administration"}, False),
        ("groups=admins", {}, False),
    ],
    ids=str,
)
async def test_the_claim_that_makes_an_admin_is_a_setting(
    setting: str, claims: Claims, *, admin: bool
) -> None:
    from image_poster.editions import parse_admin_claim

    assert await is_admin({"sub": "a", **claims}, admin_claim=parse_admin_claim(setting)) is admin


@pytest.mark.anyio
async def test_the_services_own_tokens_say_themselves_who_is_an_admin() -> None:
    ours = {"sub": "a", "iss": "image-poster"}
    assert await is_admin({**ours, "scope": "admin"})
    assert not await is_admin(ours)
    assert not await is_admin({**ours, "groups": ["admins"]}, admin_claim=("groups", "admins"))


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"nonce": "n"}, 401),
        ({"at_hash": "h"}, 401),
        ({"c_hash": "h"}, 401),
        ({"token_use": "id"}, 401),
        ({"typ": "ID", "azp": "pages"}, 401),
        ({"typ": "Logout"}, 401),
        ({"typ": "Refresh"}, 401),
        ({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}, 401),
        ({"events": "map[]", "token_use": "access"}, 401),
        ({"token_use": "access", "client_id": "pages"}, 200),
        ({"typ": "Bearer", "nonce": "n"}, 200),  # Keycloak before version 24
        ({"typ": 7}, 200),
        ({"auth_time": 1, "acr": "1", "azp": "pages"}, 200),
    ],
    ids=str,
)
def test_tokens_for_others_than_this_service_are_refused(claims: Claims, status: int) -> None:
    """ID tokens, refresh tokens and logout tokens, by what different issuers put into them. A
    gateway that has checked the signature makes no difference."""
    claims = {"sub": "alice", **claims}
    by_gateway = TokenAuthenticator(OneToken(), TokenTerms(), lambda _: claims)
    for authenticator in (TokenAuthenticator(Claimed(**claims), TokenTerms()), by_gateway):
        with client(authenticator) as api:
            answer = api.get("/me", headers={"authorization": "Bearer its"})
        assert answer.status_code == status
        if status == 401:
            assert "not an access token" in answer.json()["detail"]
            assert "not an access token" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"preferred_username": "Alice", "username": "al"}, "Alice"),
        ({"cognito:username": "zoë", "username": "al"}, "zoë"),
        ({"username": " al "}, "al"),
        ({"preferred_username": "", "username": "al"}, "al"),
        (
            {"preferred_username": ["Alice"], "cognito:username": "a\tb", "username": "x" * 129},
            "a1",
        ),
        ({"email": "alice@example.org"}, "a1"),
    ],
    ids=str,
)
def test_people_are_called_by_the_first_claim_that_is_a_name(claims: Claims, name: str) -> None:
    with client(TokenAuthenticator(Claimed(sub="a1", **claims), TokenTerms())) as api:
        me = api.get("/me", headers={"authorization": "Bearer its"}).json()
    assert (me["user"], me["name"], me["admin"]) == ("a1", name, False)


def test_the_claim_that_names_people_is_a_setting() -> None:
    terms = TokenTerms(name_claim="email")
    claims = {"sub": "a1", "email": "alice@example.org", "preferred_username": "Alice"}
    with client(TokenAuthenticator(Claimed(**claims), terms)) as api:
        me = api.get("/me", headers={"authorization": "Bearer its"}).json()
    assert me["name"] == "alice@example.org"


@pytest.mark.parametrize(
    ("authenticator", "auth"),
    [
        (DEV, ("dev", None, None, None)),
        (JWT, ("jwt", None, None, None)),
        (
            TokenAuthenticator(OneToken(), TokenTerms(issuer="https://i.example", scope="openid")),
            ("jwt", "https://i.example", None, None),
        ),
        (
            TokenAuthenticator(
                OneToken(),
                TokenTerms(issuer="https://i.example", client_id="pages", scope="openid"),
            ),
            ("jwt", "https://i.example", "pages", "openid"),
        ),
    ],
    ids=["dev", "jwt", "issuer", "client"],
)
def test_nobody_is_told_how_one_signs_in(
    authenticator: Authenticator, auth: tuple[str | None, ...]
) -> None:
    with client(authenticator) as api:
        answer = api.get("/me")
    shown = dict(zip(("mode", "issuer", "client_id", "scope"), auth, strict=True))
    assert answer.json() == {"user": None, "name": None, "admin": False, "auth": shown}
    assert answer.headers["cache-control"] == "no-store"


def test_a_token_that_does_not_hold_is_told_to_who_asks_who_they_are() -> None:
    with client(JWT) as api:
        assert api.get("/me", headers={"authorization": "Bearer bobs"}).status_code == 401
        assert api.get("/me", headers={"user-id": "alice"}).json()["user"] is None


def test_a_policy_names_origins_and_nothing_that_an_issuer_could_write_into_it() -> None:
    urls = ("https://i.example/pool", "https://i.example/token", "http://[::1]:8080/token")
    assert origins_of(urls) == ["https://i.example", "http://[::1]:8080"]
    assert origins_of(["https://a.example;script-src *", "https://*", "javascript:alert(1)"]) == []
    assert origins_of(["https://a b/", "https://u@a.example/", "", "//a.example", "http://["]) == []
