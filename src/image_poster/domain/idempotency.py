"""Requests that may be repeated: what is remembered of an answer, and when it is given again.

The header is `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header). A receipt is
stored together with what the request did, atomically: either both are there after a crash, or
neither.
"""

import hashlib
from typing import NamedTuple

import msgspec

from image_poster.domain.errors import IdempotencyKeyReusedError, invalid

HEADER = "Idempotency-Key"
KEPT_MS = 24 * 3600 * 1000
_MAX_CHARACTERS = 255


class IdempotencyRecord(msgspec.Struct, frozen=True):
    """The answer to one user's request with one key: `body` and `location` as they were sent."""

    user: str
    key: str
    fingerprint: bytes
    body: bytes
    location: str


class Answer(NamedTuple):
    """What a creating request answers: the JSON, where it points, and whether it was given
    before."""

    body: bytes
    location: str
    replayed: bool = False


class AlreadyAnsweredError(Exception):
    """The key was used before; `receipt` is what was answered then. Stores raise it, with nothing
    changed; use cases turn it into the former answer."""

    def __init__(self, receipt: IdempotencyRecord) -> None:
        self.receipt = receipt
        super().__init__(receipt.key)


def checked_key(key: str) -> str:
    """The key, if it is one; raises `ValidationFailedError`."""
    if not 1 <= len(key) <= _MAX_CHARACTERS or not key.isprintable():
        raise invalid(HEADER, f"must have 1 to {_MAX_CHARACTERS} printable characters")
    return key


def fingerprint(*parts: bytes) -> bytes:
    """Tells one request from another (SHA-256): `parts` are everything that matters of it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def former_answer(former: IdempotencyRecord, now: IdempotencyRecord | None) -> Answer:
    """What was answered to the same request before; raises `IdempotencyKeyReusedError` if the
    request that comes `now` is another one."""
    if now is None or former.fingerprint != now.fingerprint:
        raise IdempotencyKeyReusedError
    return Answer(former.body, former.location, replayed=True)
