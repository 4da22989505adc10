"""The events of webhooks in the OpenAPI document (section "webhooks" of OpenAPI 3.1)."""

from typing import Any

from image_poster.domain.events import PING, EventType

_POST = {"$ref": "#/components/schemas/PostBody"}
_COMMENT = {"$ref": "#/components/schemas/CommentBody"}


def _ids(**nullable: bool) -> dict[str, Any]:
    """The schema of `data` that has only ids; True for an id that may be null."""
    properties = {
        name: {"type": ["string", "null"] if is_nullable else "string"}
        for name, is_nullable in nullable.items()
    }
    return {"type": "object", "properties": properties, "required": list(nullable)}


_POST_ID = _ids(id=False)
_COMMENT_IDS = _ids(id=False, post_id=False)
_GONE = "Only the ids if nobody else may see it any more at the time of the delivery."

# The type, its description, and the schemas of its data.
_EVENTS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    EventType.POST_READY: (f"A post became public. {_GONE}", [_POST, _POST_ID]),
    EventType.POST_FAILED: ("The image of a post cannot be shown, or was refused.", [_POST_ID]),
    EventType.POST_DELETED: ("A post was deleted, with its comments.", [_POST_ID]),
    EventType.POST_HIDDEN: ("A decision hid a post.", [_POST_ID]),
    EventType.POST_RESTORED: (f"A decision restored a hidden post. {_GONE}", [_POST, _POST_ID]),
    EventType.COMMENT_CREATED: (f"A comment was added. {_GONE}", [_COMMENT, _COMMENT_IDS]),
    EventType.COMMENT_DELETED: (
        "A comment was deleted. Deleting a post sends no event for its comments.",
        [_COMMENT_IDS],
    ),
    EventType.REPORT_CREATED: (
        "A user reported a post or a comment.",
        [_ids(id=False, post_id=False, comment_id=True)],
    ),
    EventType.DECISION_MADE: (
        "An admin, or the service, decided about a post, a comment or a user.",
        [_ids(id=False, post_id=True, comment_id=True, user=True)],
    ),
    EventType.USER_DELETED: (
        "The deletion of an account began. Events follow for each deleted post and comment.",
        [_ids(user=False)],
    ),
    PING: ("The command `image-poster webhooks test` was run.", [{"type": "object"}]),
}


def _header(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {
        "name": name,
        "in": "header",
        "required": True,
        "schema": schema,
        "description": description,
    }


_HEADERS = [
    _header("webhook-id", "The id of the event, the same for each try."),
    _header("webhook-timestamp", "The time of the try, in seconds since 1970."),
    _header("webhook-signature", "`v1,` and the HMAC-SHA256; several are separated by spaces."),
]


def webhook_operations() -> dict[str, Any]:
    """The value of `webhooks` in the OpenAPI document: an operation for each type of event."""
    return {type_: {"post": _operation(type_)} for type_ in _EVENTS}


def _operation(type_: str) -> dict[str, Any]:
    description, schemas = _EVENTS[type_]
    noun, _, verb = type_.partition(".")
    return {
        "operationId": f"{noun}{verb.capitalize()}Event",
        "summary": type_,
        "description": description,
        "parameters": _HEADERS,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _body(type_, schemas)}},
        },
        "responses": {
            "2XX": {"description": "The event was received."},
            "410": {"description": "Send no more events to this endpoint."},
            "default": {"description": "The event will be sent again."},
        },
    }


def _body(type_: str, schemas: list[dict[str, Any]]) -> dict[str, Any]:
    data = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    properties = {
        "type": {"const": type_},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": data,
    }
    return {"type": "object", "properties": properties, "required": list(properties)}
