"""S3 in memory: what we ask of a botocore client, as far as uploads go. It passes the same tests as
the emulator does."""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

_MOST_LISTED = 3  # S3 lists 1,000 at a time; so few that a test meets the next page


class StoredObject(NamedTuple):
    content: bytes
    metadata: dict[str, str]
    modified: datetime


class FakeS3:
    """One bucket is as good as another here. Names of methods and arguments are botocore's.
    `around` is called right before each call, and may raise."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.around: Callable[[], None] = lambda: None
        self._uploads: dict[str, list[bytes]] = {}

    def keep(self, key: str, content: bytes, **metadata: str) -> None:
        """As by a PUT of somebody else's."""
        self.objects[key] = StoredObject(content, metadata, self.now)

    def put_object(self, *, Key: str, Body: bytes, **words: Any) -> dict[str, Any]:  # noqa: N803
        if words.get("IfNoneMatch") == "*" and Key in self.objects:
            raise _error("PreconditionFailed")
        self.keep(Key, bytes(Body), **words.get("Metadata", {}))
        return {}

    def copy_object(self, *, Key: str, CopySource: dict[str, str], **words: Any) -> None:  # noqa: N803
        """With `IfNoneMatch`: "only if the object key name at the destination does not already
        exist", else 412 (API reference, CopyObject)."""
        with _missing("NoSuchKey"):
            source = self.objects[CopySource["Key"]]
        self.around()
        if words.get("IfNoneMatch") == "*" and Key in self.objects:
            raise _error("PreconditionFailed")
        self.keep(Key, source.content, **source.metadata)

    def create_multipart_upload(self, *, Key: str, **_: Any) -> dict[str, str]:  # noqa: N803
        self._uploads[Key] = []
        return {"UploadId": Key}

    def upload_part(self, *, UploadId: str, Body: bytes, **_: Any) -> dict[str, str]:  # noqa: N803
        self._uploads[UploadId].append(bytes(Body))
        return {"ETag": "etag"}

    def complete_multipart_upload(self, *, Key: str, UploadId: str, **_: Any) -> None:  # noqa: N803
        self.keep(Key, b"".join(self._uploads.pop(UploadId)))

    def head_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        with _missing("404"):
            stored = self.objects[Key]
        return {
            "ContentLength": len(stored.content),
            "Metadata": stored.metadata,
            "LastModified": stored.modified,
        }

    def get_object(self, *, Key: str, **words: Any) -> dict[str, Any]:  # noqa: N803
        """With `IfNoneMatch`: 304 for the same ETag (API reference, GetObject)."""
        with _missing("NoSuchKey"):
            content = self.objects[Key].content
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        if words.get("IfNoneMatch") == etag:
            raise _error("304")
        return {"Body": StreamingBody(io.BytesIO(content), None), "ETag": etag}

    def list_objects_v2(self, *, Prefix: str, **words: Any) -> dict[str, Any]:  # noqa: N803
        after = words.get("ContinuationToken") or words.get("StartAfter", "")
        keys = sorted(key for key in self.objects if key.startswith(Prefix) and key > after)
        shown = keys[:_MOST_LISTED]
        if len(keys) == len(shown):
            return {"Contents": [{"Key": key} for key in shown]}
        more = {"IsTruncated": True, "NextContinuationToken": shown[-1]}
        return {"Contents": [{"Key": key} for key in shown], **more}

    def delete_objects(self, *, Delete: dict[str, Any], **_: Any) -> dict[str, Any]:  # noqa: N803
        for entry in Delete["Objects"]:
            self.objects.pop(entry["Key"], None)
        return {}


@contextmanager
def _missing(code: str) -> Iterator[None]:
    try:
        yield
    except KeyError as exc:
        raise _error(code) from exc


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "operation")
