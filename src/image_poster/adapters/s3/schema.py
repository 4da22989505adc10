"""What is stored where in S3, and its errors as ours.

    bucket    key                            holds
    uploads   incoming/{post}                an image as it was put at a signed URL
    uploads   originals/{post}               the untouched image: the one that was taken
    uploads   staging/{post}/{offset}        a piece of it, from that byte on (12 digits)
    uploads   complete/{post}                nothing: all pieces are there
    images    images/{post}/{rendition}.jpg  what is shown

    uploads   quarantine/{post}              an original whose post is not known

An object made under `incoming/` or `complete/` starts the image work. Whoever has a signed URL may
put there again; only the first that is taken becomes the original, which nothing replaces. What is
incoming, pieces, marks and what is in quarantine go by lifecycle rules.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from botocore.exceptions import BotoCoreError, ClientError

from image_poster.domain.errors import BusyError, ImageNotFoundError

S3Client = Any  # botocore makes clients at run time
INCOMING, ORIGINALS, QUARANTINE = "incoming/", "originals/", "quarantine/"
STAGING, COMPLETE = "staging/", "complete/"
_TRANSIENT = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "503", "500"}
_MISSING = {"NoSuchKey", "404", "NotFound"}


class Buckets(NamedTuple):
    """Their names."""

    uploads: str
    images: str


class PieceExistsError(Exception):
    """An object of that key is there already (If-None-Match: *)."""


@contextmanager
def translated() -> Iterator[None]:
    """S3's errors as ours. Others are faults of this program, and come out as they are."""
    try:
        yield
    except ClientError as exc:
        code = exc.response["Error"]["Code"]
        if code in _MISSING:
            raise ImageNotFoundError from exc
        if code == "PreconditionFailed":
            raise PieceExistsError from exc
        if code in _TRANSIENT or code == "ConditionalRequestConflict":
            raise BusyError from exc
        raise
    except BotoCoreError as exc:
        raise BusyError from exc


def original_key(post_id: str) -> str:
    """Of the untouched image."""
    return f"{ORIGINALS}{post_id}"


def incoming_key(post_id: str) -> str:
    """Where a signed URL puts an image."""
    return f"{INCOMING}{post_id}"


def quarantine_key(post_id: str) -> str:
    """Where an original is that is nobody's."""
    return f"{QUARANTINE}{post_id}"


def complete_key(post_id: str) -> str:
    """Of the mark that all pieces are there."""
    return f"{COMPLETE}{post_id}"


def pieces_prefix(post_id: str) -> str:
    """Of all pieces."""
    return f"{STAGING}{post_id}/"


def piece_key(post_id: str, offset: int) -> str:
    """Of the piece that begins at `offset`."""
    return f"{pieces_prefix(post_id)}{offset:012d}"


def rendition_key(post_id: str, rendition: str) -> str:
    """Of what is shown; also its path at the service."""
    return f"images/{post_id}/{rendition}.jpg"


def post_id_of(key: str) -> str:
    """The post that an event's object belongs to; keys come URL-encoded (S3 event structure)."""
    return unquote_plus(key).split("/")[1]


def list_keys(client: S3Client, bucket: str, prefix: str) -> list[str]:
    """All keys that begin so, in order (S3 lists in UTF-8 binary order)."""
    found: list[str] = []
    words: dict[str, str] = {}
    while True:
        with translated():
            answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **words)
        found += [entry["Key"] for entry in answer.get("Contents", [])]
        if not answer.get("IsTruncated"):
            return found
        words = {"ContinuationToken": answer["NextContinuationToken"]}


def delete_keys(client: S3Client, bucket: str, keys: list[str]) -> None:
    """Delete, whether or not they are there."""
    at_a_time = 1000  # DeleteObjects
    for at in range(0, len(keys), at_a_time):
        part = [{"Key": key} for key in keys[at : at + at_a_time]]
        with translated():
            answer = client.delete_objects(Bucket=bucket, Delete={"Objects": part, "Quiet": True})
        if answer.get("Errors"):
            raise BusyError
