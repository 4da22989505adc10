"""Keys of the two S3 buckets, the translation of S3's errors, and lists of an operator in objects.

| bucket  | key                           | object                                       |
| uploads | incoming/{post}               | an image that was put at a signed URL        |
| uploads | originals/{post}              | the original                                 |
| uploads | staging/{post}/{offset}       | a piece from that byte on (12 digits)        |
| uploads | complete/{post}               | a mark without content: all pieces are there |
| images  | images/{post}/{rendition}.jpg | a rendition                                  |
| uploads | withheld/{post}/{rendition}.jpg | a rendition of a post that is not public   |
| uploads | quarantine/{post}             | an original without a post                   |

A new object under `incoming/` or `complete/` starts the image work. A client may put at its signed
URL more than once. Only the first image that is processed becomes the original, and nothing
replaces it. Lifecycle rules delete incoming images, pieces, marks and the quarantine. An
operator's list is an object of the private bucket that the settings name, read again each minute.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import unquote_plus

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from image_poster.domain.errors import BusyError, ImageNotFoundError, ImagePosterError
from image_poster.ports import Clock

S3Client = Any  # botocore makes clients at run time
# The bucket and the key of an object, as arguments of S3's API.
Place = dict[str, str]
INCOMING, ORIGINALS, QUARANTINE = "incoming/", "originals/", "quarantine/"
WITHHELD = "withheld/"
STAGING, COMPLETE = "staging/", "complete/"
_TRANSIENT = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "503", "500"}
_MISSING = {"NoSuchKey", "404", "NotFound"}


class Buckets(NamedTuple):
    """The names of the two buckets."""

    uploads: str
    images: str


class PieceExistsError(Exception):
    """An object with this key exists (If-None-Match: *)."""


@contextmanager
def translated() -> Iterator[None]:
    """Translate S3's errors to `ImageNotFoundError`, `PieceExistsError` and `BusyError`. Any other
    error is a bug of this program and is raised unchanged."""
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
    return f"{ORIGINALS}{post_id}"


def incoming_key(post_id: str) -> str:
    return f"{INCOMING}{post_id}"


def quarantine_key(post_id: str) -> str:
    """The key of an original without a post."""
    return f"{QUARANTINE}{post_id}"


def complete_key(post_id: str) -> str:
    """The key of the mark that all pieces are there."""
    return f"{COMPLETE}{post_id}"


def pieces_prefix(post_id: str) -> str:
    return f"{STAGING}{post_id}/"


def piece_key(post_id: str, offset: int) -> str:
    """The key of the piece that begins at byte `offset`."""
    return f"{pieces_prefix(post_id)}{offset:012d}"


def rendition_key(post_id: str, rendition: str) -> str:
    """The key of a rendition; also its path at the service."""
    return f"images/{post_id}/{rendition}.jpg"


def withheld_key(post_id: str, rendition: str) -> str:
    """The key of a rendition of a post that is not public."""
    return f"{WITHHELD}{post_id}/{rendition}.jpg"


def post_id_of(key: str) -> str:
    """The post id in the key of an event's object; keys are URL-encoded (S3 event structure)."""
    return unquote_plus(key).split("/")[1]


def list_keys(client: S3Client, bucket: str, prefix: str) -> list[str]:
    """All keys with this prefix, in order (S3 lists in UTF-8 binary order)."""
    keys: list[str] = []
    position: dict[str, str] = {}
    while True:
        with translated():
            answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **position)
        keys += [entry["Key"] for entry in answer.get("Contents", [])]
        if not answer.get("IsTruncated"):
            return keys
        position = {"ContinuationToken": answer["NextContinuationToken"]}


def delete_keys(client: S3Client, bucket: str, keys: list[str]) -> None:
    """Delete objects. A missing object is no error. Raises `BusyError`."""
    at_a_time = 1000  # DeleteObjects
    for at in range(0, len(keys), at_a_time):
        part = [{"Key": key} for key in keys[at : at + at_a_time]]
        with translated():
            answer = client.delete_objects(Bucket=bucket, Delete={"Objects": part, "Quiet": True})
        if answer.get("Errors"):
            raise BusyError


_REFRESH_MS = 60_000
_UNCHANGED = {"304", "NotModified"}
# A million hashes; a larger object is not a list.
_MAX_BYTES = 80_000_000

_log = structlog.get_logger()
List = TypeVar("List")


class S3List(Generic[List]):
    """The list in one object; without a key, the empty list. `parse` reads it, and raises
    `ValueError`.

    A wrong new version leaves the former one in force. Without a former one, nothing can be
    checked: the work fails, and is tried again.
    """

    def __init__(
        self,
        client: S3Client,
        place: Place,
        parse: Callable[[str], List],
        clock: Clock,
    ) -> None:
        self._client = client
        self._place = place
        self._parse = parse
        self._clock = clock
        self._content: List | None = None if place["Key"] else parse("")
        self._etag = ""
        self._until_ms = 0

    def current(self) -> List:
        """The list in force. Raises `BusyError` if it could never be read."""
        if self._place["Key"] and self._clock.now_ms() >= self._until_ms:
            self._until_ms = self._clock.now_ms() + _REFRESH_MS
            self._refresh()
        if self._content is None:
            self._until_ms = 0
            raise BusyError
        return self._content

    def _refresh(self) -> None:
        try:
            content = self._read()
            if content is not None:
                self._content = self._parse(content.decode())
        except (ImagePosterError, ValueError) as exc:
            former = "none" if self._content is None else "the former one stays in force"
            _log.error(
                "a list cannot be read", key=self._place["Key"], former=former, error=str(exc)
            )

    def _read(self) -> bytes | None:
        """The object's content, or None if it has not changed."""
        condition = {"IfNoneMatch": self._etag} if self._etag else {}
        try:
            with translated():
                answer = self._client.get_object(**self._place, **condition)
        except ClientError as exc:
            if exc.response["Error"]["Code"] in _UNCHANGED:
                return None
            raise
        content: bytes = answer["Body"].read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"the object is larger than {_MAX_BYTES:,} bytes. Shorten the list.")
        self._etag = answer["ETag"]
        return content
