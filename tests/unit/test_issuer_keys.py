"""An issuer that is hostile, slow or wrong: whose tokens hold meanwhile, and who waits."""

import asyncio
import gzip
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from image_poster.adapters.oidc import OidcTokenVerifier, issuer_keys
from image_poster.domain.errors import BusyError, IdentityRequiredError
from support.issuer import (
    AUDIENCE,
    DISCOVERY,
    KEYS,
    FakeIssuer,
    Misbehaviour,
    drip,
    drip_head,
    garbage_token,
    redirect,
    running_issuer,
    send,
    stay_silent,
)

pytestmark = pytest.mark.anyio
# What a busy machine may need; who waited for the issuer would wait for ever.
SOME_SECONDS = 30


class Clock:
    """Seconds, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An issuer on a busy machine may take longer than the 2 s for which a caller waits."""
    monkeypatch.setattr(issuer_keys, "_WAIT_SECONDS", 60)


@pytest.fixture
def verifier(issuer: FakeIssuer, clock: Clock) -> OidcTokenVerifier:
    return OidcTokenVerifier(issuer.url, (AUDIENCE,), clock)


def garbage(issuer: FakeIssuer) -> str:
    """A stranger's token."""
    return garbage_token(issuer.claims("mallory"))


@pytest.mark.parametrize("path", [DISCOVERY, KEYS])
async def test_an_issuer_that_drips_takes_no_thread_that_uploads_need(
    issuer: FakeIssuer, verifier: OidcTokenVerifier, path: str
) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    issuer.misbehave[path] = drip
    strangers = [asyncio.create_task(verifier.verify(garbage(issuer))) for _ in range(3)]
    while path not in issuer.misbehaving_paths:
        await asyncio.sleep(0.01)
    try:
        assert await asyncio.wait_for(asyncio.to_thread(int), SOME_SECONDS) == 0
    finally:
        issuer.release.set()
    for refused in await asyncio.gather(*strangers, return_exceptions=True):
        assert isinstance(refused, BusyError)


async def test_a_key_that_is_known_holds_while_the_issuer_drips_and_a_new_one_after_it(
    issuer: FakeIssuer,
    verifier: OidcTokenVerifier,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = issuer.token("alice")
    assert await verifier.verify(known)
    monkeypatch.undo()  # nobody waits for long
    issuer.misbehave[KEYS] = drip
    clock.now += 3601
    strangers = [asyncio.create_task(verifier.verify(garbage(issuer))) for _ in range(3)]
    assert (await asyncio.wait_for(verifier.verify(known), SOME_SECONDS))["sub"] == "alice"
    await asyncio.gather(*strangers, return_exceptions=True)
    clock.now += 11  # the fetch has not ended; whoever comes now waits for nothing
    began = time.monotonic()
    for _ in range(20):
        assert await verifier.verify(known)
        with pytest.raises(BusyError):
            await verifier.verify(garbage(issuer))
    assert time.monotonic() - began < SOME_SECONDS
    issuer.misbehave.clear()
    issuer.rotate()
    issuer.release.set()
    await _ends(verifier)
    clock.now += 11
    assert (await verifier.verify(issuer.token("bob")))["sub"] == "bob"


async def _ends(verifier: OidcTokenVerifier) -> None:
    """The fetch under way ends."""
    await asyncio.wrap_future(verifier._keys._fetch)


@pytest.mark.parametrize("misbehaviour", [drip, drip_head, stay_silent])
async def test_a_fetch_ends_in_time_however_slowly_the_issuer_sends(
    issuer: FakeIssuer, misbehaviour: Misbehaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "_FETCH_SECONDS", 2)
    issuer.misbehave[KEYS] = misbehaviour
    fetching = asyncio.to_thread(issuer_keys.fetch_documents, issuer.url)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(fetching, SOME_SECONDS)
    assert issuer.misbehaving_paths == {KEYS}


async def test_a_new_key_holds_ten_seconds_after_a_garbage_one(
    issuer: FakeIssuer, verifier: OidcTokenVerifier, clock: Clock
) -> None:
    await verifier.verify(issuer.token())
    clock.now += 61
    with pytest.raises(IdentityRequiredError):
        await verifier.verify(garbage(issuer))
    issuer.rotate()
    for _ in range(3):
        with pytest.raises(IdentityRequiredError):
            await verifier.verify(issuer.token())
    clock.now += 11
    assert await verifier.verify(issuer.token())


async def test_many_strangers_are_one_fetch_in_ten_seconds(
    issuer: FakeIssuer, verifier: OidcTokenVerifier, clock: Clock
) -> None:
    tokens = [garbage(issuer) for _ in range(5)]
    for fetches in (1, 2, 3):
        refusals = await asyncio.gather(*map(verifier.verify, tokens), return_exceptions=True)
        assert {type(refusal) for refusal in refusals} == {IdentityRequiredError}
        assert issuer.document_requests == 2 * fetches
        clock.now += 11


@pytest.mark.parametrize(
    "key",
    [
        "no key",
        None,
        {"kty": "RSA", "kid": "no numbers"},
        {"kty": "RSA", "kid": "no base64", "n": "!!", "e": "AQAB"},
        {"kty": "RSA", "kid": "too small", "n": "AQ", "e": "AQ"},
        {"kty": "RSA", "kid": "even", "n": "gAAA", "e": "Ag"},
        {"kty": "RSA", "kid": ["a list"], "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": 7, "n": 7, "e": 7},
        {"kty": "RSA", "kid": "private", "n": "gAAB", "e": "AQAB", "d": "AQ", "p": "", "oth": [{}]},
    ],
    ids=str,
)
async def test_a_key_that_cannot_be_read_is_skipped(
    issuer: FakeIssuer, verifier: OidcTokenVerifier, key: Any
) -> None:
    issuer.other_keys = [key]
    assert await verifier.verify(issuer.token())


BOMB = gzip.compress(b"{}" + b" " * 10_000_000)
DEEP = b'{"keys":' * 20_000
HOSTILE: dict[str, Misbehaviour] = {
    "ten megabytes": send(b'{"keys": [], "x": "' + b"x" * 10_000_000 + b'"}'),
    "a gzip bomb": send(BOMB, content_encoding="gzip"),
    "no JSON": send(b"<html>"),
    "no object": send(b"[]"),
    "nested JSON": send(DEEP),
    "no UTF-8": send(b'{"keys": ["\xff"]}'),
    "another shape": send(b'{"keys": {"a": 1}, "issuer": 7}'),
    "a redirect to another place": redirect("http://127.0.0.1:1/keys"),
    "a redirect to itself": redirect(KEYS),
    "a redirect to a file": redirect("file:///etc/passwd"),
}


@pytest.mark.parametrize("path", [DISCOVERY, KEYS])
@pytest.mark.parametrize("misbehaviour", HOSTILE.values(), ids=HOSTILE)
async def test_whatever_the_issuer_sends_its_former_keys_hold(
    issuer: FakeIssuer,
    verifier: OidcTokenVerifier,
    clock: Clock,
    path: str,
    misbehaviour: Misbehaviour,
) -> None:
    known = issuer.token()
    assert await verifier.verify(known)
    issuer.misbehave[path] = misbehaviour
    clock.now += 3601
    assert await verifier.verify(known)
    with pytest.raises(BusyError):
        await verifier.verify(garbage(issuer))
    issuer.misbehave.clear()
    issuer.rotate()
    clock.now += 11
    assert await verifier.verify(issuer.token())


@pytest.mark.parametrize("path", [DISCOVERY, KEYS])
async def test_a_redirect_is_not_followed_even_where_it_leads_to_the_right_document(
    issuer: FakeIssuer, verifier: OidcTokenVerifier, path: str
) -> None:
    with running_issuer() as other:
        other.named, other.key = issuer.url, issuer.key
        issuer.misbehave[path] = redirect(f"{other.url}{path}")
        with pytest.raises(BusyError):
            await verifier.verify(issuer.token())
        assert other.document_requests == 0


async def test_a_key_set_may_name_any_number_of_keys(
    issuer: FakeIssuer, verifier: OidcTokenVerifier
) -> None:
    issuer.misbehave[KEYS] = send(msgspec.json.encode({"keys": [{"kty": "RSA"}] * 60_000}))
    with pytest.raises(IdentityRequiredError):
        await verifier.verify(issuer.token())
