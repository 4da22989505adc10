"""Lists of an operator in objects of the private bucket, read again each minute."""

from collections.abc import Callable
from typing import Generic, TypeVar

import structlog
from botocore.exceptions import ClientError

from image_poster.adapters.s3 import schema
from image_poster.domain.errors import BusyError, ImagePosterError
from image_poster.ports import Clock

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
        client: schema.S3Client,
        place: schema.Place,
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
            with schema.translated():
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
