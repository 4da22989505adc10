"""S3 in memory: what we ask of a botocore client, as far as uploads go. It passes the same tests as
the emulator does."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

_MOST_LISTED = 3  # S3 lists 1,000 at a time; so few that a test meets the next page


class StoredObject(NamedTuple):
    content: bytes
    metadata: dict[str, str]


class FakeS3:
    """One bucket is as good as another here. Names of methods and arguments are botocore's."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}

    def put_object(self, *, Key: str, Body: bytes, **words: Any) -> dict[str, Any]:  # noqa: N803
        if words.get("IfNoneMatch") == "*" and Key in self.objects:
            raise _error("PreconditionFailed")
        self.objects[Key] = StoredObject(bytes(Body), words.get("Metadata", {}))
        return {}

    def head_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        with _missing("404"):
            found = self.objects[Key]
        return {"ContentLength": len(found.content), "Metadata": found.metadata}

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        with _missing("NoSuchKey"):
            return {"Body": io.BytesIO(self.objects[Key].content)}

    def list_objects_v2(self, *, Prefix: str, **words: Any) -> dict[str, Any]:  # noqa: N803
        after = words.get("ContinuationToken", "")
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
