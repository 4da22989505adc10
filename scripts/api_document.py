"""The OpenAPI document for the scripts: a list of operations with their parameters, bodies and
answers. `reference.py` makes pages of it, `collection.py` requests."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from image_poster.http.app import openapi_document

Schema = dict[str, Any]
Identity = Literal["needed", "heeded", "ignored"]


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    id: str
    method: str  # in capitals
    path: str  # with {names}
    tag: str
    summary: str
    description: str
    parameters: list[dict[str, Any]]
    bodies: dict[str, Schema]  # by media type
    body_required: bool
    answers: dict[int, dict[str, Any]]
    identity: Identity

    @property
    def successes(self) -> list[int]:
        """The statuses below 400, the smallest first."""
        return sorted(status for status in self.answers if status < 400)


@dataclass(frozen=True)
class Document:
    """The whole document."""

    title: str
    version: str
    description: str
    tags: dict[str, str]
    schemas: dict[str, Schema]
    operations: list[Operation]

    def resolved(self, schema: Schema) -> Schema:
        """Return the schema itself if this is a reference to one."""
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.schemas[name] if name else schema


def read() -> Document:
    """Return the document that this version of the service serves at /openapi.json."""
    document = json.loads(openapi_document())
    return Document(
        title=document["info"]["title"],
        version=document["info"]["version"],
        description=document["info"]["description"],
        tags={tag["name"]: tag["description"] for tag in document["tags"]},
        schemas=document["components"]["schemas"],
        operations=list(_operations(document["paths"])),
    )


def _operations(paths: dict[str, dict[str, Any]]) -> Iterator[Operation]:
    for path, methods in paths.items():
        for method, fields in methods.items():
            body = fields.get("requestBody", {})
            content = body.get("content", {})
            yield Operation(
                id=fields["operationId"],
                method=method.upper(),
                path=path,
                tag=fields["tags"][0],
                summary=fields["summary"],
                description=fields.get("description", ""),
                parameters=fields.get("parameters", []),
                bodies={kind: media["schema"] for kind, media in content.items()},
                body_required=body.get("required", False),
                answers={int(status): answer for status, answer in fields["responses"].items()},
                identity=_identity(fields.get("security", [])),
            )


def _identity(security: list[dict[str, Any]]) -> Identity:
    if not security:
        return "ignored"
    return "heeded" if {} in security else "needed"
