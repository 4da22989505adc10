"""Every call of the service except uploads: the request, its retries, and its decoded answer.

All may be repeated: reads by nature, deletions as the service promises, comments by an
`Idempotency-Key`.
"""

from codecs import BOM_UTF8
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from image_poster.client.results import Comment, Comments, Feed, GaveUpError, Post, RefusedError
from image_poster.client.retries import Policy, Retries
from image_poster.client.steps import Reply, Send, Steps
from image_poster.client.uploading import refusal

Body = TypeVar("Body")
_JSON = {"content-type": "application/json"}
_CONFLICT = 412
_CHANGED = "Somebody changed this post since you read it. Read it again, and change what it is now."
# People wait for these; an upload may take its time.
_POLICY = Policy(patience=30.0, first_patience=3.0)


def show(path: str) -> Steps[Post]:
    """One post, with all of its stored latest comments."""
    return _post((yield from _asked(Send("GET", f"{path}?comments=10"))))


def wait_until_processed(path: str, seconds: int) -> Steps[Post]:
    """The post once it is `ready` or `failed`, or its state after `seconds`."""
    return _post((yield from _asked(Send("GET", f"{path}?wait={seconds}", seconds=seconds))))


def feed(**question: Any) -> Steps[Feed]:  # noqa: ANN401 - the query
    """A page of the feed."""
    return _get(f"/posts?{_query(question)}", Feed)


def comments(post_id: str, **question: Any) -> Steps[Comments]:  # noqa: ANN401 - the query
    """A page of a post's comments."""
    return _get(f"/posts/{post_id}/comments?{_query(question)}", Comments)


def comment(post_id: str, content: str, key: str | None = None) -> Steps[Comment]:
    """Create a comment, or return the one that this idempotency key has created before."""
    headers = {**_JSON, "idempotency-key": key or token_hex(16)}
    body = msgspec.json.encode({"content": content})
    reply = yield from _asked(Send("POST", f"/posts/{post_id}/comments", headers, body))
    return _decoded(reply, Comment)


def edit(post: Post | str, **texts: str | None) -> Steps[Post]:
    """Change the post's caption or alt text, if nobody has changed it since it was read."""
    path = f"/posts/{post if isinstance(post, str) else post.id}"
    changes = {name: text for name, text in texts.items() if text is not None}
    etag = post.etag if isinstance(post, Post) else None
    if etag is None:
        found = yield from show(path)
        if isinstance(post, Post) and _texts(found) != _texts(post):
            raise RefusedError(_CONFLICT, "edit_conflict", _CHANGED)
        etag = found.etag or "*"
    headers = {**_JSON, "if-match": etag}
    reply = yield from _asked(Send("PATCH", path, headers, msgspec.json.encode(changes)))
    return _post(reply)


def _texts(post: Post) -> tuple[str, str, str | None]:
    return post.caption, post.alt, post.edited_at


def delete(path: str) -> Steps[None]:
    """Delete a post or a comment."""
    yield from _asked(Send("DELETE", path))


def _query(question: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in question.items() if value is not None})


def _get(path: str, kind: type[Body]) -> Steps[Body]:
    return _decoded((yield from _asked(Send("GET", path))), kind)


def _post(reply: Reply) -> Post:
    return msgspec.structs.replace(_decoded(reply, Post), etag=reply.headers.get("etag"))


def _asked(request: Send) -> Steps[Reply]:
    reply = yield from Retries(_POLICY, _silent).exchange(request)
    if reply.status >= 400:  # noqa: PLR2004 - RFC 9110 section 15.5
        raise refusal(reply)
    return reply


def _silent(_reason: str, _wait: float) -> None:
    """Report no retries, as calls are short."""


def _decoded(reply: Reply, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(reply.content.removeprefix(BOM_UTF8), type=kind)
    except (ValueError, RecursionError) as exc:
        raise GaveUpError("the service does not answer as image-poster-api does") from exc
