"""What all memory adapters share: five dictionaries, changed on one event loop only."""

from dataclasses import dataclass, field, replace

from image_poster.domain.comments import Comment, encode_comment, join_latest
from image_poster.domain.errors import PostNotFoundError
from image_poster.domain.idempotency import AlreadyAnsweredError, Receipt
from image_poster.domain.posts import Post, StoredPost, encode_post
from image_poster.tus.decisions import Upload


@dataclass(frozen=True)
class PostRecord:
    """A post, its job's state, and its comments' ids are keys of `MemoryState.comments`."""

    post: Post
    due_at: int = 0
    leases: int = 0
    failures: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Tombstone:
    """Who deleted something and when; `pending` while something of it is left."""

    user: str
    deleted_at: int
    pending: bool


@dataclass
class MemoryState:
    """Posts and tombstones by id, comments by post id and their own."""

    posts: dict[str, PostRecord] = field(default_factory=dict)
    comments: dict[str, dict[str, Comment]] = field(default_factory=dict)
    tombstones: dict[str, Tombstone] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    receipts: dict[tuple[str, str], tuple[Receipt, int]] = field(default_factory=dict)

    def check_unused(self, receipt: Receipt | None) -> None:
        """Raises `AlreadyAnsweredError` if the receipt's key was used."""
        former = self.receipts.get((receipt.user, receipt.key)) if receipt else None
        if former is not None:
            raise AlreadyAnsweredError(former[0])

    def keep_receipt(self, receipt: Receipt | None, now_ms: int) -> None:
        """Remember an answer."""
        if receipt is not None:
            self.receipts[receipt.user, receipt.key] = (receipt, now_ms)

    def post(self, post_id: str) -> Post:
        """The post, or `PostNotFoundError`."""
        if post_id not in self.posts:
            raise PostNotFoundError
        return self.posts[post_id].post

    def change(self, post_id: str, **changes: object) -> None:
        """Replace fields of a post's record."""
        self.posts[post_id] = replace(self.posts[post_id], **changes)  # type: ignore[arg-type]

    def newest_comments(self, post_id: str) -> list[Comment]:
        """All comments of a post, newest first."""
        of_post = self.comments.get(post_id, {})
        return [of_post[key] for key in sorted(of_post, reverse=True)]

    def stored(self, post_id: str) -> StoredPost:
        """The post as stores hand it out, its counts derived on the spot."""
        newest = self.newest_comments(post_id)
        return StoredPost(
            id=post_id,
            total_comments=len(newest),
            head=encode_post(self.post(post_id)),
            latest=join_latest(encode_comment(comment) for comment in newest),
        )
