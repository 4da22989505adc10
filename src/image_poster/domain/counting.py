"""What comments mean for their post, where they are counted after they were answered (AWS).

    a comment is          and then
    new                   counted, and claimed as that: a second time it is no news
    counted, edited       shown anew, if it is among the latest
    counted, deleted      taken back, and removed
    deleted, never        removed
    counted

`fold` goes by what the items are now, not by what records said in which order: so a record that
comes twice, late, or before another changes nothing. A pure function.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from image_poster.domain.comments import decode_comment, join_latest, split_latest
from image_poster.domain.limits import LATEST_KEPT


class CommentState(NamedTuple):
    """A comment as it is kept: `doc` is its JSON."""

    id: str
    doc: bytes
    counted: bool = False
    deleted_by: str | None = None


class Tally(NamedTuple):
    """What a post knows of its comments: `latest` as in `StoredPost`."""

    total: int
    latest: bytes


class Fold(NamedTuple):
    """What is to be written, at once: the post's tally, comments to claim as counted, and deleted
    ones to remove (`released` had been counted, `dropped` never were)."""

    tally: Tally
    claimed: list[CommentState]
    released: list[CommentState]
    dropped: list[CommentState]


def needs_newest(tally: Tally, comments: Iterable[CommentState], kept: int) -> bool:
    """Whether the latest comments cannot be told from what the post knows: some of them go, and
    older ones come in their place."""
    released = {comment.id for comment in comments if comment.counted and comment.deleted_by}
    left = _by_id(split_latest(tally.latest, LATEST_KEPT)).keys() - released
    return len(left) < min(kept, tally.total - len(released))


def fold(
    tally: Tally,
    comments: Sequence[CommentState],
    newest: Iterable[bytes] = (),
    kept: int = LATEST_KEPT,
) -> Fold:
    """The tally after these comments, each given once; `kept` is how many of the latest a post has.
    `newest` are the newest of those that are counted and not deleted, as JSON; to be given if
    `needs_newest`."""
    claimed = [one for one in comments if not one.counted and not one.deleted_by]
    released = [one for one in comments if one.counted and one.deleted_by]
    dropped = [one for one in comments if not one.counted and one.deleted_by]
    shown = _by_id(split_latest(tally.latest, LATEST_KEPT)) | _by_id(newest)
    for gone in (*released, *dropped):
        shown.pop(gone.id, None)
    for one in comments:
        if not one.deleted_by and (not one.counted or one.id in shown):
            shown[one.id] = one.doc
    newest_first = (shown[comment_id] for comment_id in sorted(shown, reverse=True))
    latest = join_latest(newest_first, kept)
    total = tally.total + len(claimed) - len(released)
    return Fold(Tally(total, latest), claimed, released, dropped)


def _by_id(docs: Iterable[bytes]) -> dict[str, bytes]:
    return {decode_comment(doc).id: doc for doc in docs}
