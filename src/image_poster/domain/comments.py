"""Comments: their shape, who may change them, and the list of the latest that a post carries."""

from collections.abc import Iterable

import msgspec

from image_poster.domain.identity import Identity
from image_poster.domain.limits import LATEST_KEPT


class Comment(msgspec.Struct, frozen=True):
    """One comment, as stored and as shown."""

    id: str
    post_id: str
    creator: str
    content: str
    created_at: str
    edited_at: str | None = None


encode_comment = msgspec.json.Encoder().encode
decode_comment = msgspec.json.Decoder(Comment).decode


def edited(comment: Comment, editor: Identity, *, content: str, now: str) -> Comment:
    """The comment with new `content`; only its author may (an admin deletes, but never
    rewrites)."""
    Identity(editor.user).require(comment.creator)
    return msgspec.structs.replace(comment, content=content, edited_at=now)


def split_latest(latest: bytes, most: int) -> list[bytes]:
    """The newest `most` of a post's latest comments, each as JSON."""
    return latest.split(b"\n", most)[:most] if latest else []


def join_latest(comments: Iterable[bytes], kept: int = LATEST_KEPT) -> bytes:
    """A post's latest comments from their JSON, newest first: one a line, at most `kept`."""
    return b"\n".join(list(comments)[:kept])


def with_newest(latest: bytes, comment: bytes) -> bytes:
    """The latest comments after one more."""
    return join_latest([comment, *split_latest(latest, LATEST_KEPT)])
