"""Comments: add, list, edit, delete."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from image_poster.domain.comments import Comment, edited_comment, encode_comment
from image_poster.domain.errors import CommentNotFoundError, GoneError
from image_poster.domain.idempotency import Answer, answer_once
from image_poster.domain.identity import ExpectedTags, Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.limits import Limits, clean_required
from image_poster.domain.moderation import Action, Subject, admin_action
from image_poster.domain.posts import PostStatus
from image_poster.domain.signing import CursorSigner, Page
from image_poster.ports import Clock
from image_poster.ports.comments import CommentStore
from image_poster.services.posts import PostService, TextCheck, accept_text


class VisibleComment(NamedTuple):
    """The document of a comment, and True if everybody may see its post."""

    document: bytes
    is_public: bool


@dataclass(frozen=True)
class CommentService:
    """Each write is one write of the store. `render` turns a comment's document into its body in
    the API. `check_may_write` checks a user's standing."""

    comments: CommentStore
    posts: PostService
    clock: Clock
    limits: Limits
    cursors: CursorSigner
    render: Callable[[bytes], bytes]
    check_may_write: Callable[[str], Awaitable[None]]
    check_text: TextCheck = accept_text

    async def add(
        self, post_id: str, author: Identity, content: str, key: str | None = None
    ) -> Answer:
        """Store the comment; with an idempotency key, once. The store checks the author's standing
        in the same transaction, and a replay is checked here.

        Raises `ValidationFailedError`, `BannedError`, `AccountDeletedError`, `PostNotFoundError`,
        `PostNotReadyError`, `BlockedError`, `IdempotencyKeyReusedError` and `GoneError`.
        """
        comment = Comment(
            id=self.clock.new_id(),
            post_id=post_id,
            creator=author.user,
            creator_name=author.name,
            content=self._checked(content),
            created_at=rfc3339(self.clock.now_ms()),
        )
        body = self.render(encode_comment(comment))
        answer = Answer(body, f"/posts/{post_id}/comments/{comment.id}")
        request = (b"comment", post_id.encode(), comment.content.encode())
        record = answer.record(author.user, key, *request)
        adding = self.comments.add(comment, record, by_admin=author.admin)
        answer = await answer_once(adding, answer, record)
        if answer.replayed:
            await self.check_may_write(author.user)
            await self._check_exists(post_id, answer)
        return answer

    async def list(self, post_id: str, *, limit: int, cursor: str | None) -> Page[bytes, str]:
        """Documents of comments, newest first, after `cursor`, of a public post. Raises
        `PostNotFoundError` and `InvalidCursorError`."""
        await self.posts.get(post_id, None)
        list_name = f"comments:{post_id}"
        after = self.cursors.read(list_name, cursor, str)
        page = await self.comments.page(post_id, limit=limit, after=after)
        return self.cursors.signed(list_name, page)

    async def get(self, post_id: str, comment_id: str, viewer: Identity | None) -> VisibleComment:
        """A comment, if `viewer` may see the post. Raises `PostNotFoundError` and
        `CommentNotFoundError`."""
        post = (await self.posts.get(post_id, viewer)).post
        document = await self.comments.find(post_id, comment_id)
        return VisibleComment(document, post.status is PostStatus.READY)

    async def edit(
        self,
        post_id: str,
        comment_id: str,
        editor: Identity,
        content: str,
        *,
        expected: ExpectedTags = None,
    ) -> Comment:
        """Edit the comment, for its author only; `expected` are the tags of the version that the
        edit is based on.

        Raises `ValidationFailedError`, `CommentNotFoundError`, `PostNotFoundError`, `NotYoursError`
        and `EditConflictError`.
        """
        text, now = self._checked(content), rfc3339(self.clock.now_ms())
        return await self.comments.update(
            post_id,
            comment_id,
            lambda comment: edited_comment(
                comment, editor, content=text, now=now, expected=expected
            ),
        )

    async def delete(self, post_id: str, comment_id: str, by: Identity) -> None:
        """Delete the comment for its author, the post's creator or an admin; repeating it is a
        no-op. Raises `CommentNotFoundError`, `PostNotFoundError` and `NotYoursError`."""
        decision_id, subject = self.clock.new_id(), Subject(post_id, comment_id)
        now_ms = self.clock.now_ms()
        decision = admin_action(decision_id, by, Action.DELETE, subject, now_ms)
        await self.comments.remove(post_id, comment_id, by, decision=decision)

    async def _check_exists(self, post_id: str, answer: Answer) -> None:
        """Raise `GoneError` if the comment of the former answer has been deleted. It may be on a
        post that was hidden since."""
        if await self.posts.posts.find(post_id) is None:
            raise GoneError
        try:
            await self.comments.find(post_id, answer.resource)
        except CommentNotFoundError as exc:
            raise GoneError from exc

    def _checked(self, content: str) -> str:
        text = clean_required("content", content, longest=self.limits.comment_characters)
        self.check_text("content", text)
        return text
