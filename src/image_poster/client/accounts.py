"""Calls about the user's own account: identity, own posts and comments, blocks, deletion."""

from pathlib import Path
from urllib.parse import quote

from image_poster.client.calls import JSON, Call, encode_members, read
from image_poster.client.results import (
    Blocks,
    Comments,
    Feed,
    PostStatus,
    TakeoutResult,
    UserResult,
)
from image_poster.client.retries import Policy, Send, Steps, exchange
from image_poster.client.takeout import Takeout, TakeoutCallback, TakeoutFolder


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
