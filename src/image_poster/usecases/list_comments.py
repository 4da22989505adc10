"""Read a page of a post's comments."""

from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.identity import Identity
from image_poster.domain.pages import CursorSigner
from image_poster.ports.comments import CommentStore
from image_poster.usecases.get_post import GetPost


class Comments(NamedTuple):
    """Comments as JSON, newest first, and the cursor of the next page (None: this was the last)."""

    comments: list[bytes]
    next: str | None


@dataclass(frozen=True)
class ListComments:
    """For whoever may see the post."""

    get_post: GetPost
    comments: CommentStore
    cursors: CursorSigner

    async def __call__(
        self, post_id: str, viewer: Identity | None, *, limit: int, cursor: str | None
    ) -> Comments:
        """The page after `cursor`."""
        await self.get_post(post_id, viewer)
        list_name = f"comments:{post_id}"
        after = self.cursors.read(list_name, cursor, str) if cursor is not None else None
        page = await self.comments.page(post_id, limit=limit, after=after)
        return Comments(
            page.comments, self.cursors.write(list_name, page.next) if page.next else None
        )
