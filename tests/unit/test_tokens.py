"""Bearer tokens: which are valid, which are refused and with which sentence, and the effect of an
outage."""

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc.jwk import ECKey, RSAKey

from image_poster.adapters.oidc import (
    OWN_ISSUER,
    OidcTokenVerifier,
    OwnTokenVerifier,
    TokenVerifiers,
    issuer_keys,
    new_key,
    own_token,
    user_digest,
)
from image_poster.domain.errors import BusyError, IdentityRequiredError
from image_poster.editions.local.access import revoke_deleted_user
from support.issuer import AUDIENCE, FakeIssuer, rsa_key, running_issuer, signed

pytestmark = pytest.mark.anyio
IN_2100 = 4_102_444_800
EXPIRED = "The bearer token has expired. Sign in again."


def now() -> int:
    """Seconds since 1970, read when it is used: tests before this one may have taken minutes."""
    return int(time.time())


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer on a busy machine may take longer than the 2 s for which a caller waits."""
    monkeypatch.setattr(issuer_keys, "_WAIT_SECONDS", 60)


class Later:
    """A clock that moves only when a test calls it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def later() -> Later:
    return Later()


@pytest.fixture
def theirs(issuer: FakeIssuer, later: Later) -> OidcTokenVerifier:
    return OidcTokenVerifier(issuer.url, ("another", AUDIENCE), lambda: later.seconds)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "token.key"
    path.write_bytes(new_key())
    return path


async def refusal(
    verifier: OidcTokenVerifier | OwnTokenVerifier | TokenVerifiers, token: str
) -> str:
    with pytest.raises(IdentityRequiredError) as refused:
        await verifier.verify(token)
    return refused.value.detail


def base64url(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")


def encoded(part: dict[str, Any]) -> str:
    return base64url(msgspec.json.encode(part))


async def test_a_token_of_the_issuer_holds(issuer: FakeIssuer, theirs: OidcTokenVerifier) -> None:
    assert (await theirs.verify(issuer.token("zoë")))["sub"] == "zoë"
    assert await theirs.verify(issuer.token(aud=["somebody else", AUDIENCE]))
    assert await theirs.verify(issuer.token(aud=None, client_id=AUDIENCE))


async def test_tokens_for_any_of_our_audiences_hold(issuer: FakeIssuer) -> None:
    for ours in (("web", AUDIENCE), (AUDIENCE, "web"), (AUDIENCE,)):
        assert await OidcTokenVerifier(issuer.url, ours).verify(issuer.token(aud=AUDIENCE))
    await refusal(OidcTokenVerifier(issuer.url, ("web", "app")), issuer.token(aud=AUDIENCE))


async def test_where_pages_get_tokens_is_what_the_issuer_says(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, later: Later
) -> None:
    issuer.down = True
    assert await theirs.token_endpoint() == ""
    issuer.down, issuer.tokens_at = False, "https://tokens.example"
    assert await theirs.token_endpoint() == "", "it was asked a moment ago"
    later(11)
    assert await theirs.token_endpoint() == "https://tokens.example/token"
    issuer.down = True
    later(7200)
    assert await theirs.token_endpoint() == "https://tokens.example/token"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None},
        {"exp": "tomorrow"},
        {"nbf": IN_2100},
        {"iat": IN_2100},
        {"iss": "https://issuer.example"},
        {"iss": None},
        {"aud": "somebody else"},
        {"aud": None},
        {"aud": [["image-poster-tests"], 7]},
        {"aud": {"image-poster-tests": 1}},
    ],
    ids=str,
)
async def test_claims_that_are_not_for_us_are_refused(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, claims: dict[str, Any]
) -> None:
    assert await refusal(theirs, issuer.token(**claims)) == (
        "The bearer token is not valid. Sign in again."
    )


async def test_a_token_that_has_run_out_says_so(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, key_file: Path
) -> None:
    assert await refusal(theirs, issuer.token(exp=now() - 31)) == EXPIRED
    assert await theirs.verify(issuer.token(exp=now() - 5))  # clocks differ
    ours = own_token(key_file.read_bytes(), "alice", seconds=-31)
    assert await refusal(OwnTokenVerifier(key_file), ours) == EXPIRED


async def test_only_rs256_is_taken(issuer: FakeIssuer, theirs: OidcTokenVerifier) -> None:
    """RFC 8725, section 2.1: neither no signature, nor one with the public key as a secret."""
    claims, kid = issuer.claims("mallory"), issuer.key.kid
    public = issuer.key.as_pem(private=False)
    named = f"{encoded({'alg': 'HS256', 'kid': kid})}.{encoded(claims)}"
    for token in (
        f"{encoded({'alg': 'none', 'kid': kid})}.{encoded(claims)}.",
        f"{named}.{base64url(hmac.digest(public, named.encode(), 'sha256'))}",
        signed(ECKey.generate_key("P-256", auto_kid=True), claims, "ES256"),
        signed(issuer.key, claims, "PS256"),
    ):
        assert await refusal(theirs, token) == "The bearer token must be signed with RS256."


@pytest.mark.parametrize(
    "token", ["", ".", "alice", "a.b.c", "e30.e30.e30", "bnVsbA.e30.", "W10.e30.", "ä.ö.ü"]
)
async def test_what_is_no_token_is_refused(
    theirs: OidcTokenVerifier, key_file: Path, token: str
) -> None:
    for verifier in (theirs, OwnTokenVerifier(key_file)):
        assert "bearer token is not valid" in await refusal(verifier, token)


@pytest.mark.parametrize("kind", ["logout+jwt", "application/logout+jwt", "secevent+jwt", "ID"])
async def test_tokens_of_another_type_are_refused(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, key_file: Path, kind: str
) -> None:
    """RFC 8725, section 3.11."""
    own_key = RSAKey.import_key(key_file.read_bytes())
    claims = {**issuer.claims("alice"), "iss": OWN_ISSUER, "aud": OWN_ISSUER}
    assert "not an access token" in await refusal(
        theirs, signed(issuer.key, issuer.claims("alice"), typ=kind)
    )
    ours = signed(own_key, claims, typ=kind, kid="own")
    assert "not an access token" in await refusal(OwnTokenVerifier(key_file), ours)


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"])
async def test_access_tokens_hold_whatever_their_type_is_called(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, kind: str | None
) -> None:
    """RFC 9068, section 2.1."""
    assert await theirs.verify(signed(issuer.key, issuer.claims("alice"), typ=kind))


@pytest.mark.parametrize("depth", [500, 1_000, 20_000])
@pytest.mark.parametrize("place", ["header", "payload"])
async def test_nested_json_is_no_token(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, key_file: Path, place: str, depth: int
) -> None:
    nested = b'"x":' + b"[" * depth + b"]" * depth
    header = f'{{"alg":"RS256","kid":"{issuer.key.kid}"'.encode()
    parts = {"header": header + b"}", "payload": b'{"iss":"a"}'}
    parts[place] = (header + b"," if place == "header" else b"{") + nested + b"}"
    token = ".".join([*map(base64url, parts.values()), base64url(b"x")])
    both = TokenVerifiers(OwnTokenVerifier(key_file), theirs)
    for verifier in (theirs, OwnTokenVerifier(key_file), both):
        assert "not valid" in await refusal(verifier, token)


async def test_another_key_is_refused_whatever_it_is_called(
    issuer: FakeIssuer, theirs: OidcTokenVerifier
) -> None:
    claims = issuer.claims("mallory")
    for header in ({"kid": issuer.key.kid}, {"kid": "for encryption"}, {"kid": None}, {}):
        assert "not valid" in await refusal(theirs, signed(rsa_key(), claims, **header))
    assert "not valid" in await refusal(theirs, signed(issuer.key, claims, kid=None))


async def test_a_rotated_key_is_fetched_though_not_for_every_stranger(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, later: Later
) -> None:
    await theirs.verify(issuer.token())
    assert issuer.document_requests == 2
    issuer.rotate()
    for _ in range(3):
        await refusal(theirs, issuer.token())
    assert issuer.document_requests == 2
    later(61)
    await theirs.verify(issuer.token())
    for _ in range(3):
        await refusal(theirs, signed(rsa_key(), issuer.claims("mallory")))
    assert issuer.document_requests == 4


async def test_a_key_that_was_withdrawn_is_good_for_an_hour_at_most(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, later: Later
) -> None:
    before = issuer.token(exp=now() + 9999)
    await theirs.verify(before)
    issuer.rotate()
    later(3601)
    await refusal(theirs, before)


async def test_an_outage_is_busy_and_not_a_refusal(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, later: Later
) -> None:
    issuer.down = True
    for _ in range(3):
        with pytest.raises(BusyError):
            await theirs.verify(issuer.token())
    assert issuer.document_requests == 1
    issuer.down = False
    later(11)
    known = issuer.token()
    await theirs.verify(known)
    issuer.down = True
    later(3700)
    await theirs.verify(known)  # its key is known, and nobody says otherwise
    issuer.rotate()
    with pytest.raises(BusyError):
        await theirs.verify(issuer.token())


async def test_an_issuer_that_is_not_there_or_calls_itself_otherwise_is_busy(
    issuer: FakeIssuer,
) -> None:
    issuer.named = "https://issuer.example"
    for url in (issuer.url, "http://127.0.0.1:1", "http://issuer.example"):
        with pytest.raises(BusyError):
            await OidcTokenVerifier(url, (AUDIENCE,)).verify(issuer.token())


async def test_our_own_token_holds_until_there_is_another_key(key_file: Path) -> None:
    ours, key = OwnTokenVerifier(key_file), key_file.read_bytes()
    token = own_token(key, "alice", seconds=60)
    claims = await ours.verify(token)
    assert (claims["sub"], "scope" in claims, claims["exp"] - claims["iat"]) == ("alice", False, 60)
    assert (await ours.verify(own_token(key, "root", seconds=60, admin=True)))["scope"] == "admin"
    key_file.write_bytes(new_key())
    assert "not valid" in await refusal(ours, token)
    assert await ours.verify(own_token(key_file.read_bytes(), "alice", seconds=60))


@pytest.mark.parametrize("key", ["alice", user_digest("alice")], ids=["former", "digest"])
async def test_a_revocation_is_of_one_user_by_name_or_digest(key_file: Path, key: str) -> None:
    """Earlier versions stored the names themselves."""
    ours, pem = OwnTokenVerifier(key_file), key_file.read_bytes()
    former, bobs = (own_token(pem, user, seconds=60) for user in ("alice", "bob"))
    again = own_token(pem, "alice", seconds=60, series="a1")
    key_file.with_name("revocations.json").write_bytes(msgspec.json.encode({key: "a1"}))
    assert "was revoked" in await refusal(ours, former)
    assert (await ours.verify(again))["sub"] == "alice"
    assert (await ours.verify(bobs))["sub"] == "bob"


async def test_a_revocation_replaces_the_name_that_an_earlier_version_stored(
    key_file: Path,
) -> None:
    file = key_file.with_name("revocations.json")
    file.write_text('{"alice": "a1", "bob": "b1"}')
    await revoke_deleted_user(key_file.parent, "alice")
    series = msgspec.json.decode(file.read_bytes(), type=dict[str, str])
    assert set(series) == {user_digest("alice"), "bob"}
    assert series[user_digest("alice")] != "a1"
    assert series["bob"] == "b1"


async def test_without_a_key_there_is_no_token_to_revoke(tmp_path: Path) -> None:
    await revoke_deleted_user(tmp_path, "alice")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----", None])
async def test_a_damaged_key_is_our_fault_and_not_the_callers(
    key_file: Path, content: bytes | None
) -> None:
    token = own_token(key_file.read_bytes(), "alice", seconds=60)
    key_file.unlink()
    if content is not None:
        key_file.write_bytes(content)
        with pytest.raises(ValueError, match="no RSA key"):
            own_token(content, "alice", seconds=60)
    with pytest.raises(BusyError):
        await OwnTokenVerifier(key_file).verify(token)


async def test_each_token_is_checked_by_who_it_is_of(
    issuer: FakeIssuer, theirs: OidcTokenVerifier, key_file: Path
) -> None:
    own, key = OwnTokenVerifier(key_file), RSAKey.import_key(key_file.read_bytes())
    key.ensure_kid()
    both, alone = TokenVerifiers(own, theirs), TokenVerifiers(own, None)
    of_issuer, ours = issuer.token(), own_token(key_file.read_bytes(), "alice", seconds=60)
    assert await both.verify(of_issuer)
    assert await both.verify(ours)
    assert await alone.verify(ours)
    as_ours = issuer.token(iss=OWN_ISSUER, aud=OWN_ISSUER)
    as_theirs = signed(key, issuer.claims("mallory"))
    for verifiers, token in ((alone, of_issuer), (both, as_ours), (both, as_theirs)):
        with pytest.raises(IdentityRequiredError):
            await verifiers.verify(token)
    issuer.down = True
    assert await both.verify(ours)
