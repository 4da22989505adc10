"""The requests of the collection, in their order: the OpenAPI document's operations with values.

Method, path, identity, media types and required fields come from the document. EXAMPLES adds
values, an order, and the fields of an answer that later requests need. An example that contradicts
the document raises ValueError. An operation without an example still gets a request.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from api_document import Document, Operation, Schema

IMAGE = "photo.jpg"
JSON, FORM, BYTES = "application/json", "multipart/form-data", "application/offset+octet-stream"


@dataclass(frozen=True)
class Example:
    """One use of an operation.

    Braces in values name variables: {user}, {photo_size}, or one that an earlier request `keeps`.
    `keeps` maps the name of a variable to the path in the JSON answer. `sender` is the
    variable with the user who sends it.
    """

    operation: str
    title: str = ""  # instead of the operation's summary
    media_type: str = ""
    status: int = 0  # instead of the operation's smallest success
    values: dict[str, str] = field(default_factory=dict)  # of parameters, by name
    body: dict[str, Any] = field(default_factory=dict)
    keeps: dict[str, str] = field(default_factory=dict)
    # The variable that has the URL, where an answer said it whole.
    url: str = ""
    sender: str = "user"


@dataclass(frozen=True)
class Request:
    """An example with the values of its operation, from which both formats are written."""

    name: str
    title: str
    tag: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    says_who: bool
    media_type: str
    body: dict[str, Any]
    file: str  # the whole body, or in a form the part `image`
    status: int
    keeps: dict[str, str]
    url: str
    sender: str


TUS = {"post_id": "{tus_id}"}
POST = {"post_id": "{post_id}"}
COMMENT = {**POST, "comment_id": "{comment_id}"}
RESERVATION = {
    "caption": "At the lake",
    "image": {"size": "{photo_size}", "content_type": "image/jpeg"},
}
EXAMPLES = [
    Example("getHealth"),
    Example("getReadiness"),
    Example("getLimits"),
    Example("getMe"),
    Example(
        "createPost",
        media_type=FORM,
        body={"image": IMAGE, "caption": "At the lake", "alt": "A lake"},
        keeps={"post_id": "id"},
    ),
    Example("getPost", "Wait until the image is processed", values={**POST, "wait": "20"}),
    Example("listPosts", values={"limit": "10", "sort": "top", "comments": "2"}),
    Example(
        "addComment",
        media_type=JSON,
        values=POST,
        body={"content": "Nice!"},
        keeps={"comment_id": "id"},
    ),
    Example("addCommentByBody", media_type=JSON, body={**POST, "content": "Where is that?"}),
    Example("listComments", values={**POST, "limit": "10"}),
    Example("getComment", values=COMMENT),
    Example("editComment", media_type=JSON, values=COMMENT, body={"content": "Very nice!"}),
    Example("deleteComment", values=COMMENT),
    Example("editPost", media_type=JSON, values=POST, body={"caption": "In June"}),
    Example("getImage", values={**POST, "file_name": "600.jpg"}),
    Example("getOriginal", values=POST),
    Example("listOwnPosts"),
    Example("listOwnComments"),
    Example(
        "createReport",
        media_type=JSON,
        status=201,
        body={**POST, "reason": "spam", "text": "An advertisement"},
        sender="other",
    ),
    Example("listQueue", sender="admin"),
    Example(
        "decide",
        "Hide a post",
        media_type=JSON,
        status=201,
        body={**POST, "action": "hide", "reason": "spam", "text": "Our rules allow no ads."},
        keeps={"decision_id": "id"},
        sender="admin",
    ),
    Example("listOwnReports", sender="other"),
    Example("getOwnImage", values={**POST, "file_name": "600.jpg"}),
    Example("getModeratedImage", values={**POST, "file_name": "600.jpg"}, sender="admin"),
    Example("listOwnDecisions"),
    Example(
        "appeal",
        media_type=JSON,
        values={"decision_id": "{decision_id}"},
        body={"text": "It is a photo of my own."},
    ),
    Example(
        "decide",
        "Restore a post",
        media_type=JSON,
        status=201,
        body={**POST, "action": "restore"},
        sender="admin",
    ),
    Example("listDecisions", sender="admin"),
    Example("blockUser", values={"user": "{other}"}),
    Example("listBlocks"),
    Example("listOwnFeed"),
    Example("unblockUser", values={"user": "{other}"}),
    Example("deletePost", values=POST),
    Example(
        "createPost",
        "Reserve a post, to send its bytes by PUT",
        media_type=JSON,
        body=RESERVATION,
        keeps={"put_url": "upload.put.url"},
    ),
    Example("putUpload", media_type="image/*", url="put_url"),
    Example(
        "createPost",
        "Reserve a post, to send its bytes by tus",
        media_type=JSON,
        body=RESERVATION,
        keeps={"tus_id": "id"},
    ),
    Example("findUpload", values=TUS),
    Example("findUploadByGet", values=TUS),
    Example("appendToUpload", values={**TUS, "Upload-Offset": "0"}, media_type=BYTES),
    Example("terminateUpload", "End an upload, and with it its post", values=TUS),
    Example(
        "createUpload",
        "Begin a resumable upload, with its first bytes (here all)",
        values={"Upload-Length": "{photo_size}", "Upload-Metadata": "caption QXQgdGhlIGxha2U="},
        media_type=BYTES,
    ),
    Example("getMetrics"),
    Example("deleteAccount", media_type=JSON, body={"confirm": "{other}"}, sender="other"),
]


def token_variable(sender: str) -> str:
    """Return the name of the variable with a sender's bearer token."""
    return "token" if sender == "user" else f"{sender}_token"


def requests(document: Document) -> list[Request]:
    """Return a request for each example, then for each operation without an example."""
    known = {operation.id: operation for operation in document.operations}
    left = known.keys() - {example.operation for example in EXAMPLES}
    examples = [*EXAMPLES, *(Example(id_) for id_ in known if id_ in left)]
    for example in examples:
        if example.media_type:
            schema = known[example.operation].bodies[example.media_type]
            _check_body(example, document.resolved(schema))
    return [
        _request(f"{example.operation}{number or ''}", example, known[example.operation])
        for number, example in _numbered(examples)
    ]


def _numbered(examples: list[Example]) -> Iterator[tuple[int, Example]]:
    """Yield each example with the number of earlier examples of its operation."""
    earlier: list[str] = []
    for example in examples:
        yield earlier.count(example.operation), example
        earlier.append(example.operation)


def _request(name: str, example: Example, operation: Operation) -> Request:
    status = example.status or operation.successes[0]
    if status not in operation.successes:
        raise ValueError(f"{name}: {status} is not a success of the document")
    media_type, body = _concrete(example)
    path, query, headers = _placed(name, example, operation)
    return Request(
        name=name,
        title=example.title or operation.summary,
        tag=operation.tag,
        method=operation.method,
        path=path,
        query=query,
        headers=headers,
        says_who=operation.identity != "ignored",
        media_type=media_type,
        body=body,
        file=IMAGE if example.media_type and example.media_type != JSON else "",
        status=status,
        keeps=example.keeps,
        url=example.url,
        sender=example.sender,
    )


def _concrete(example: Example) -> tuple[str, dict[str, Any]]:
    """Return the media type of the request, and the fields of the body that are not files."""
    fields = {name: value for name, value in example.body.items() if value != IMAGE}
    return example.media_type.replace("image/*", "image/jpeg"), fields


def _check_body(example: Example, schema: Schema) -> None:
    required, members = set(schema.get("required", [])), set(example.body)
    known = set(schema.get("properties", {}))
    if not required <= members <= known:
        raise ValueError(
            f"{example.operation}: a body of {sorted(members)}, where the document "
            f"knows {sorted(known)} and requires {sorted(required)}"
        )


def _placed(
    name: str, example: Example, operation: Operation
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return path, query and headers: required or listed parameters, and a key for each POST."""
    placed: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    values = dict(example.values)
    for parameter in operation.parameters:
        value = values.pop(parameter["name"], None) or _default(parameter)
        if value:
            placed[parameter["in"]][parameter["name"]] = value
    if values:
        raise ValueError(f"{name}: the document has no parameter {', '.join(values)}")
    path = operation.path
    for parameter_name, value in placed["path"].items():
        path = path.replace(f"{{{parameter_name}}}", value)
    return path, placed["query"], placed["header"]


def _default(parameter: dict[str, Any]) -> str:
    if parameter["name"] == "Idempotency-Key":
        return "{key}"
    if not parameter.get("required"):
        return ""
    return str(parameter["schema"].get("const") or f"{{{parameter['name']}}}")
