"""Idempotent requests: the stored answers, and the rules for their replay.

The header is `Idempotency-Key` (IETF draft-ietf-httpapi-idempotency-key-header). A record is stored
atomically with the effects of its request: after a crash, either both are there or neither.
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
    """The answer to one user's request with one key: `body` and `location` as sent, and the SHA-256
    that distinguishes the request from others."""

    user: str
    key: str
    fingerprint: bytes
    body: bytes
    location: str

    @property
    def resource(self) -> str:
        """The id of the post, upload or comment in `location`. `body` is empty once that is
        deleted."""
        return self.location.rpartition("/")[2]


class Answer(NamedTuple):
    """The answer to a creating request: the JSON, the new resource's path, and True if it is a
    replay."""

    body: bytes
    location: str
    replayed: bool = False

    @property
    def resource(self) -> str:
        """The id of the post, upload or comment in `location`."""
        return self.location.rpartition("/")[2]

    def record(self, user: str, key: str | None, *request: bytes) -> IdempotencyRecord | None:
        """The record to store with the write, so that the same `request` gets this answer again.
        `request` is every part that distinguishes it; None without a key."""
        if key is None:
            return None
        return IdempotencyRecord(user, key, fingerprint(*request), self.body, self.location)


class AlreadyAnsweredError(Exception):
    """The key was used before, for the answer in `record`. Stores raise it, with nothing changed;
    services turn it into the former answer."""

    def __init__(self, record: IdempotencyRecord) -> None:
        self.record = record
        super().__init__(record.key)


def checked_key(key: str) -> str:
    """Return the key if it is valid; raises `ValidationFailedError`."""
    if not 1 <= len(key) <= MAX_CHARACTERS or not key.isprintable():
        raise invalid(HEADER, f"must have 1 to {MAX_CHARACTERS} printable characters")
    return key


def fingerprint(*parts: bytes) -> bytes:
    """The SHA-256 of a request; `parts` are everything that distinguishes it from others."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


async def answer_once(
    write: Awaitable[None], answer: Answer, record: IdempotencyRecord | None
) -> Answer:
    """Await `write` and return `answer`; for a replay, return the former answer, with nothing
    written.

    Raises `IdempotencyKeyReusedError` when the key came with another request.
    """
    try:
        await write
    except AlreadyAnsweredError as exc:
        return replayed_answer(exc, record)
    return answer


def replayed_answer(exc: AlreadyAnsweredError, record: IdempotencyRecord | None) -> Answer:
    """The former answer, to a request with this record. Raises `IdempotencyKeyReusedError` when the
    key came with another request."""
    former = exc.record
    if record is None or former.fingerprint != record.fingerprint:
        raise IdempotencyKeyReusedError from exc
    return Answer(former.body, former.location, replayed=True)
