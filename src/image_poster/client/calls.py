"""Every call of the service but uploads: the request, its retries, and what its answer means.

All may be repeated: reads by nature, deletions as the service promises, comments by an
`Idempotency-Key`.
"""

from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from image_poster.client.results import Comment, Comments, Feed, GaveUpError, Post
from image_poster.client.retries import Policy, Retries
from image_poster.client.steps import Reply, Send, Steps
from image_poster.client.uploading import refusal

Body = TypeVar("Body")
_JSON = {"content-type": "application/json"}
# People wait for these; an upload may take its time.
_POLICY = Policy(patience=30.0, first_patience=3.0)


def show(path: str) -> Steps[Post]:
    """One post, with as many of its latest comments as are kept."""
    return _get(f"{path}?comments=10", Post)


def wait_until_processed(path: str, seconds: int) -> Steps[Post]:
    """The post once it is `ready` or `failed`, or as it is after so many seconds."""
    return _get(f"{path}?wait={seconds}", Post, seconds=seconds)


def feed(**question: Any) -> Steps[Feed]:  # noqa: ANN401 - the query
    """A page of the feed."""
    return _get(f"/posts?{_query(question)}", Feed)


def comments(post_id: str, **question: Any) -> Steps[Comments]:  # noqa: ANN401 - the query
    """A page of a post's comments."""
    return _get(f"/posts/{post_id}/comments?{_query(question)}", Comments)


def comment(post_id: str, content: str) -> Steps[Comment]:
    """The new comment."""
    headers = {**_JSON, "idempotency-key": token_hex(16)}
    body = msgspec.json.encode({"content": content})
    reply = yield from _asked(Send("POST", f"/posts/{post_id}/comments", headers, body))
    return _decoded(reply, Comment)


def edit(post_id: str, **texts: str | None) -> Steps[Post]:
    """The post with another caption or alt text."""
    changes = {name: text for name, text in texts.items() if text is not None}
    request = Send("PATCH", f"/posts/{post_id}", _JSON, msgspec.json.encode(changes))
    return _decoded((yield from _asked(request)), Post)


def delete(path: str) -> Steps[None]:
    """A post or a comment, gone."""
    yield from _asked(Send("DELETE", path))


def _query(question: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in question.items() if value is not None})


def _get(path: str, kind: type[Body], **options: float) -> Steps[Body]:
    return _decoded((yield from _asked(Send("GET", path, **options))), kind)  # type: ignore[arg-type]


def _asked(request: Send) -> Steps[Reply]:
    reply = yield from Retries(_POLICY, _silent).exchange(request)
    if reply.status >= 400:  # noqa: PLR2004 - RFC 9110 section 15.5
        raise refusal(reply)
    return reply


def _silent(_reason: str, _wait: float) -> None:
    """Nobody is told of the retries of a short call."""


def _decoded(reply: Reply, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(reply.content, type=kind)
    except msgspec.DecodeError as exc:
        raise GaveUpError("the service does not answer as image-poster-api does") from exc
