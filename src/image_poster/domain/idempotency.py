"""Requests that may be repeated: what is remembered of an answer, and when it is given again.

The header is `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header). A record is stored
together with what the request did, atomically: either both are there after a crash, or neither.
"""

import hashlib
from collections.abc import Awaitable
from typing import NamedTuple

import msgspec

from image_poster.domain.errors import IdempotencyKeyReusedError, invalid

HEADER = "Idempotency-Key"
KEPT_MS = 7 * 24 * 3600 * 1000
MAX_CHARACTERS = 255


class IdempotencyRecord(msgspec.Struct, frozen=True):
    """The answer to one user's request with one key: `body` and `location` as they were sent, and
    the SHA-256 that tells the request from others."""

    user: str
    key: str
    fingerprint: bytes
    body: bytes
    location: str

    @property
    def resource(self) -> str:
        """The id of the post, upload or comment that it is about. `body` is empty once that is
        deleted."""
        return self.location.rpartition("/")[2]


class Answer(NamedTuple):
    """What a creating request answers: the JSON, where it points, and whether it was given
    before."""

    body: bytes
    location: str
    replayed: bool = False

    @property
    def made(self) -> str:
        """The id of the post, upload or comment that it points at."""
        return self.location.rpartition("/")[2]

    def record(self, user: str, key: str | None, *request: bytes) -> IdempotencyRecord | None:
        """What is to be stored with the write so that the same `request` (everything that matters
        of it) gets this answer again; None without a key."""
        if key is None:
            return None
        return IdempotencyRecord(user, key, fingerprint(*request), self.body, self.location)


class AlreadyAnsweredError(Exception):
    """The key was used before; `record` is what was answered then. Stores raise it, with nothing
    changed; services turn it into the former answer."""

    def __init__(self, record: IdempotencyRecord) -> None:
        self.record = record
        super().__init__(record.key)


def checked_key(key: str) -> str:
    """The key, if it is one; raises `ValidationFailedError`."""
    if not 1 <= len(key) <= MAX_CHARACTERS or not key.isprintable():
        raise invalid(HEADER, f"must have 1 to {MAX_CHARACTERS} printable characters")
    return key


def fingerprint(*parts: bytes) -> bytes:
    """Tells one request from another (SHA-256): `parts` are everything that matters of it."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def former_record(given: Answer, record: IdempotencyRecord) -> IdempotencyRecord:
    """The record of the answer that was `given` before, to the request that `record` is of."""
    return msgspec.structs.replace(record, body=given.body, location=given.location)


async def answer_once(
    write: Awaitable[None], answer: Answer, record: IdempotencyRecord | None
) -> Answer:
    """`answer` once `write` has been done, or what was answered before, with nothing written.

    Raises `IdempotencyKeyReusedError` when the key came with another request.
    """
    try:
        await write
    except AlreadyAnsweredError as exc:
        former = exc.record
        if record is None or former.fingerprint != record.fingerprint:
            raise IdempotencyKeyReusedError from exc
        return Answer(former.body, former.location, replayed=True)
    return answer
