"""Comments: their fields, the rules for edits, and the counts on their post.

A post carries its newest comments (`latest`). On one machine they change in the comment's own
transaction. On AWS `fold` counts them afterwards:

- a new comment: count it, and claim it as counted, so that a second run changes nothing;
- a counted comment that was edited: replace it, if it is among the latest;
- a counted comment that was deleted: subtract it, and remove it;
- a deleted comment that was never counted: remove it.

`fold` uses the current items, not the order of stream records. So a record that comes twice, late
or out of order changes nothing. It is a pure function.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from image_poster.domain.identity import ExpectedTags, Identity, check_unchanged, edit_tag
from image_poster.domain.limits import LATEST_KEPT, MAX_LATEST_BYTES

# The format of stored documents that is written; see `Comment`.
COMMENT_FORMAT = 2


class Comment(msgspec.Struct, frozen=True, tag_field="v", tag=COMMENT_FORMAT):
    """One comment, as stored: its document begins with its format, `{"v":2,`. `creator_name` is the
    creator's display name at that time; without one, it is `creator`.

    Format 1, and documents from before formats were numbered, have no names, and are read as such.
    The API shows a comment as `http.comments.CommentBody`.
    """

    id: str
    post_id: str
    creator: str
    content: str
    created_at: str
    edited_at: str | None = None
    creator_name: str = ""

    def __post_init__(self) -> None:
        """Fill in the name, also on reading."""
        if not self.creator_name:
            msgspec.structs.force_setattr(self, "creator_name", self.creator)


encode_comment = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Comment).decode


def decode_comment(document: bytes) -> Comment:
    """Decode a comment from its document, of any format."""
    return _decode(unnumbered(document))


def unnumbered(document: bytes) -> bytes:
    """Turn a document of format 1 into one from before formats were numbered; return others as
    is."""
    return b"{" + document[7:] if document.startswith(b'{"v":1,') else document


def comment_tag(comment: Comment) -> str:
    """The tag of this version of the comment's text."""
    return edit_tag(comment.content, comment.edited_at)


def edited_comment(
    comment: Comment, editor: Identity, *, content: str, now: str, expected: ExpectedTags = None
) -> Comment:
    """The comment with new `content`; only its author may edit (an admin deletes, but never
    rewrites).

    Raises `NotYoursError`, and `EditConflictError` if the comment's tag is not `expected`. An edit
    that was already applied succeeds again: its answer was lost.
    """
    Identity(editor.user).require(comment.creator)
    if expected is not None and comment.content == content and comment.edited_at is not None:
        return comment
    check_unchanged(comment_tag(comment), expected)
    return msgspec.structs.replace(comment, content=content, edited_at=now)


def split_latest(latest: bytes, longest: int) -> list[bytes]:
    """The newest `longest` of a post's latest comments, each a stored document."""
    return latest.split(b"\n", longest)[:longest] if latest else []


def join_latest(comments: Iterable[bytes], limit: int = LATEST_KEPT) -> bytes:
    """Join documents, newest first, into a post's latest comments: one a line (JSON has no raw
    newline). At most `limit`, and as many as fit into `MAX_LATEST_BYTES`, but at least one."""
    latest = list(itertools.islice(comments, limit))
    while len(latest) > 1 and sum(map(len, latest)) + len(latest) - 1 > MAX_LATEST_BYTES:
        latest.pop()
    return b"\n".join(latest)


def latest_without(latest: bytes, creators: frozenset[str], limit: int) -> bytes:
    """At most `limit` of a post's latest comments, without those of these creators."""
    lines = split_latest(latest, LATEST_KEPT)
    remaining = (line for line in lines if decode_comment(line).creator not in creators)
    return b"\n".join(itertools.islice(remaining, limit))


def with_newest(latest: bytes, comment: bytes) -> bytes:
    """The latest comments after one more comment is added."""
    return join_latest([comment, *split_latest(latest, LATEST_KEPT)])


class CommentState(NamedTuple):
    """A comment as stored: `doc` is its document. `deleted_by` is empty for the service."""

    id: str
    doc: bytes
    counted: bool = False
    deleted_by: str | None = None

    @property
    def is_deleted(self) -> bool:
        """True if the comment was deleted, and is not removed yet."""
        return self.deleted_by is not None


class Tally(NamedTuple):
    """A post's comment count, and its latest comments as in `StoredPost`."""

    total: int
    latest: bytes


class Fold(NamedTuple):
    """The changes to write in one transaction: the post's tally, comments to claim as counted, and
    deleted ones to remove. Of these, `released` had been counted, `dropped` never were."""

    tally: Tally
    claimed: list[CommentState]
    released: list[CommentState]
    dropped: list[CommentState]


class _KnownComments(NamedTuple):
    """Comments by id. None is missing that is as new as `floor` or newer (None: none is
    missing)."""

    docs: dict[str, bytes]
    floor: str | None

    def newest_first(self) -> list[bytes]:
        """The documents down to the floor, newest first."""
        ids = sorted(self.docs, reverse=True)
        return [self.docs[id_] for id_ in ids if self.floor is None or id_ >= self.floor]


def needs_newest(tally: Tally, comments: Iterable[CommentState], limit: int) -> bool:
    """Return True if `tally` is not enough for `fold`, which then needs the newest comments. Some
    of the latest are deleted or shorter, and older ones may replace them."""
    known = _after(_known(tally), comments)
    docs = known.newest_first()
    has_space = len(split_latest(join_latest(docs, limit), limit)) == len(docs) < limit
    return known.floor is not None and has_space


def fold(
    tally: Tally,
    comments: Sequence[CommentState],
    newest: Sequence[bytes] | None = None,
    limit: int = LATEST_KEPT,
) -> Fold:
    """The tally after these comments, each passed once; `limit` is the number of latest comments
    of a post. `newest` are the documents of the `limit` newest comments that are counted and not
    deleted. It is required if `needs_newest`."""
    counted = [comment for comment in comments if comment.counted]
    uncounted = [comment for comment in comments if not comment.counted]
    claimed = [comment for comment in uncounted if not comment.is_deleted]
    released = [comment for comment in counted if comment.is_deleted]
    dropped = [comment for comment in uncounted if comment.is_deleted]
    known = _after(_known(tally, newest, limit), comments)
    latest = join_latest(known.newest_first(), limit)
    total = tally.total + len(claimed) - len(released)
    return Fold(Tally(total, latest), claimed, released, dropped)


def _known(
    tally: Tally, newest: Sequence[bytes] | None = None, limit: int = LATEST_KEPT
) -> _KnownComments:
    shown, more = _by_id(split_latest(tally.latest, LATEST_KEPT)), _by_id(newest or ())
    is_whole = len(shown) >= tally.total or (newest is not None and len(newest) < limit)
    return _KnownComments(shown | more, None if is_whole else min((*shown, *more), default="~"))


def _after(known: _KnownComments, comments: Iterable[CommentState]) -> _KnownComments:
    docs = dict(known.docs)
    for comment in comments:
        if comment.is_deleted:
            docs.pop(comment.id, None)
        elif not comment.counted or comment.id in docs:
            docs[comment.id] = comment.doc
    return known._replace(docs=docs)


def _by_id(docs: Iterable[bytes]) -> dict[str, bytes]:
    return {decode_comment(doc).id: doc for doc in docs}
