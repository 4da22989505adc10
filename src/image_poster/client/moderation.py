"""Calls about the user's account, and about moderation.

- the account: identity, own posts and comments, blocks, takeout, deletion
- moderation: reports, decisions and appeals, and the queue of admins
"""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from image_poster.client.calls import JSON, Call, create, encode_members, read
from image_poster.client.results import (
    AppealResult,
    Blocks,
    Comments,
    DecisionResult,
    Decisions,
    Feed,
    PostStatus,
    Queue,
    ReportResult,
    Reports,
    TakeoutResult,
    UserResult,
)
from image_poster.client.retries import Policy, Send, Steps, exchange
from image_poster.client.takeout import Takeout, TakeoutCallback, TakeoutFolder

Reason = Literal[
    "spam",
    "nudity",
    "violence",
    "hate",
    "harassment",
    "self_harm",
    "illegal",
    "copyright",
    "other",
]
Action = Literal["hide", "restore", "delete", "publish", "dismiss", "ban", "unban"]

_SUBJECT = re.compile(r"(?P<post_id>[0-9A-Za-z]{1,64})(/(?P<comment_id>[0-9A-Za-z]{1,64}))?")
_USER_PREFIX = "user:"


def subject_members(subject: str) -> dict[str, str | None]:
    """The members of a request that name a subject. Raises `ValueError`."""
    if subject.startswith(_USER_PREFIX) and subject != _USER_PREFIX:
        return {"user": subject.removeprefix(_USER_PREFIX)}
    match = _SUBJECT.fullmatch(subject)
    if match is None:
        raise ValueError(f"{subject!r} is no POST_ID, POST_ID/COMMENT_ID or user:NAME")
    return match.groupdict()


class ModerationCalls:
    """The calls of users who report or appeal, and of admins who decide. Calls that create
    something accept an `idempotency_key`: repeated with the same key they create nothing twice, for
    7 days."""

    @Call
    def report(
        self,
        post_id: str,
        reason: Reason,
        *,
        comment_id: str | None = None,
        text: str | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[ReportResult]:
        """Report a post, or a comment on it. While the user's report of it is open, the result is
        that report."""
        members = {"post_id": post_id, "comment_id": comment_id, "reason": reason, "text": text}
        return create("/reports", ReportResult, idempotency_key, **members)

    @Call
    def reports(self, *, limit: int = 10, cursor: str | None = None) -> Steps[Reports]:
        """A page of the user's own reports, with their outcomes."""
        return read("/me/reports", Reports, limit=limit, cursor=cursor)

    @Call
    def my_decisions(self, *, limit: int = 10, cursor: str | None = None) -> Steps[Decisions]:
        """A page of the decisions about the user's content and account, each with its appeal."""
        return read("/me/decisions", Decisions, limit=limit, cursor=cursor)

    @Call
    def appeal(
        self, decision_id: str, text: str, *, idempotency_key: str | None = None
    ) -> Steps[AppealResult]:
        """Appeal against a decision, which is possible once. Raises `RefusedError` with the code
        `appeal_made` after that."""
        path = f"/me/decisions/{decision_id}/appeal"
        return create(path, AppealResult, idempotency_key, text=text)

    @Call
    def moderation_queue(self, *, limit: int = 10, cursor: str | None = None) -> Steps[Queue]:
        """A page of the open entries, for admins."""
        return read("/moderation/queue", Queue, limit=limit, cursor=cursor)

    @Call
    def decide(
        self,
        action: Action,
        subject: str,
        *,
        reason: Reason | None = None,
        text: str | None = None,
        until: str | None = None,
        block_image: bool = False,
        idempotency_key: str | None = None,
    ) -> Steps[DecisionResult]:
        """Decide about a subject, for admins: `POST_ID`, `POST_ID/COMMENT_ID` or `user:NAME`.
        Repeating the decision in force changes nothing.

        `hide`, `delete` and `ban` need a reason. `until` (RFC 3339) ends a ban; `block_image`
        blocks the image of a deleted post. Raises `RefusedError` with the code `decision_conflict`
        if the action does not fit the state, `ValueError` for a malformed `subject`.
        """
        members = {
            **subject_members(subject),
            "action": action,
            "reason": reason,
            "text": text,
            "until": until,
            "block_image": block_image or None,
        }
        return create("/moderation/decisions", DecisionResult, idempotency_key, **members)

    @Call
    def decisions(self, *, limit: int = 10, cursor: str | None = None) -> Steps[Decisions]:
        """A page of the log of all decisions, for admins."""
        return read("/moderation/decisions", Decisions, limit=limit, cursor=cursor)


class AccountCalls:
    """The calls below `/me`, but for reports and decisions."""

    _url: str
    _policy: Policy

    @Call
    def me(self) -> Steps[UserResult]:
        """The identity of the caller, as the service sees it."""
        return read("/me", UserResult)

    @Call
    def my_feed(
        self,
        *,
        sort: str = "top",
        limit: int = 10,
        cursor: str | None = None,
        creator: str | None = None,
    ) -> Steps[Feed]:
        """A page of the feed without blocked users, and without posts that the user reported. A
        page may be shorter than `limit`; only `next` tells the end."""
        return read("/me/feed", Feed, sort=sort, limit=limit, cursor=cursor, creator=creator)

    @Call
    def my_posts(
        self, *, status: PostStatus | None = None, limit: int = 10, cursor: str | None = None
    ) -> Steps[Feed]:
        """A page of the user's own posts of any status, or of one status, newest first."""
        return read("/me/posts", Feed, status=status, limit=limit, cursor=cursor)

    @Call
    def unfinished(self, *, limit: int = 10, cursor: str | None = None) -> Steps[Feed]:
        """A page of the user's own posts that await their image, are processed, or failed, newest
        first."""
        return read("/me/posts", Feed, status="unfinished", limit=limit, cursor=cursor)

    @Call
    def my_comments(self, *, limit: int = 10, cursor: str | None = None) -> Steps[Comments]:
        """A page of the user's own comments."""
        return read("/me/comments", Comments, limit=limit, cursor=cursor)

    @Call
    def block(self, user: str) -> Steps[None]:
        """Block a user: neither may comment on the other's posts from then on."""
        yield from exchange(Send("PUT", _block_path(user)))

    @Call
    def unblock(self, user: str) -> Steps[None]:
        """End a block."""
        yield from exchange(Send("DELETE", _block_path(user)))

    @Call
    def blocks(self, *, limit: int = 10, cursor: str | None = None) -> Steps[Blocks]:
        """A page of the users that the user blocks."""
        return read("/me/blocks", Blocks, limit=limit, cursor=cursor)

    @Call
    def delete_account(self, confirm: str) -> Steps[None]:
        """Delete the user's account with all data, for good. `confirm` is the name of the user, as
        `me` returns it: the service refuses any other."""
        yield from exchange(Send("DELETE", "/me", JSON, encode_members(confirm=confirm)))

    @Call
    def takeout(
        self, folder: Path, *, progress: TakeoutCallback | None = None
    ) -> Steps[TakeoutResult]:
        """Download all of the user's own data into a folder: lists as JSON lines, and originals.

        The same call continues, also after a restart, and later adds the data that is new. Raises
        `SettingError` for a folder with other content, `InUseError` while another process uses it.
        """
        place = TakeoutFolder(folder, self._url)
        return Takeout(place, self._policy, progress).steps()


def _block_path(user: str) -> str:
    """The path of a block. Dots are encoded too: `..` would lead to another path."""
    return "/me/blocks/" + quote(user, safe="").replace(".", "%2E")
