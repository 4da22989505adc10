"""Blocks, the standing of accounts, and their deletion in memory."""

from itertools import islice

import msgspec

from fakes.state import MemoryState
from image_poster.domain import errors
from image_poster.domain.accounts import GOOD_STANDING, MAX_BLOCKS, Block, Standing
from image_poster.domain.comments import encode_comment
from image_poster.domain.limits import take_page
from image_poster.domain.moderation import Action
from image_poster.domain.signing import Page
from image_poster.ports import Clock


class MemoryBlockStore:
    """`BlockStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def add(self, user: str, block: Block) -> None:
        self._state.check_standing(user, self._clock.now_ms(), while_banned=True)
        blocks = self._state.blocks.setdefault(user, {})
        if block.user not in blocks and len(blocks) >= MAX_BLOCKS:
            raise errors.TooManyBlocksError
        blocks.setdefault(block.user, block)

    async def remove(self, user: str, blocked: str) -> None:
        self._state.blocks.get(user, {}).pop(blocked, None)

    async def page(self, user: str, *, limit: int, after: str | None) -> Page[Block, str]:
        blocks = self._state.blocks.get(user, {})
        names = sorted(name for name in blocks if after is None or name > after)
        following = names[limit - 1] if len(names) > limit else None
        return Page([blocks[name] for name in names[:limit]], following)

    async def blocked_by(self, user: str) -> frozenset[str]:
        return frozenset(self._state.blocks.get(user, {}))


class MemoryAccountStore:
    """`AccountStore` over a `MemoryState`."""

    def __init__(self, state: MemoryState, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def standing(self, user: str) -> Standing:
        return self._state.standings.get(user, GOOD_STANDING)

    async def begin_deletion(self, user: str) -> None:
        standing = await self.standing(user)
        self._state.standings[user] = standing._replace(is_deleting=True)

    async def deleting(self) -> list[str]:
        standings = self._state.standings.items()
        return sorted(user for user, standing in standings if standing.is_deleting)

    async def posts_of(self, user: str, limit: int) -> list[str]:
        posts = self._state.posts.items()
        return [post_id for post_id, record in posts if record.post.creator == user][:limit]

    async def comments_of(self, user: str, *, limit: int, after: str | None) -> Page[bytes, str]:
        comments = [
            comment
            for post_id, comments in self._state.comments.items()
            for comment in comments.values()
            if comment.creator == user and post_id in self._state.posts
            if after is None or comment.id < after
        ]
        comments.sort(key=lambda comment: comment.id, reverse=True)
        shown, more = take_page(comments, limit, lambda comment: len(encode_comment(comment)))
        following = shown[-1].id if more else None
        return Page([encode_comment(comment) for comment in shown], following)

    async def erase_comments(self, user: str, limit: int) -> bool:
        keys = [
            (post_id, comment.id)
            for post_id, comments in self._state.comments.items()
            for comment in comments.values()
            if comment.creator == user
        ][:limit]
        for key in keys:
            self._state.delete_comment(*key, "", self._clock.service_ms())
        return bool(keys)

    async def erase_records(self, user: str, limit: int) -> bool:
        state = self._state
        keys = list(islice((used for used in state.records if used[0] == user), limit))
        for used in keys:
            state.used_keys[used] = state.records.pop(used)[1]
        if keys:
            return True
        owned = {decision.id for decision in state.decisions if decision.owner == user}
        for decision_id in owned & state.appeals.keys():
            appeal, entry_id = state.appeals[decision_id]
            state.close_entries(state.entries[entry_id].subject, Action.DELETE)
            state.appeals[decision_id] = (msgspec.structs.replace(appeal, text=""), entry_id)
        for id_, (report, entry_id) in state.reports.items():
            if report.reporter == user:
                nameless = msgspec.structs.replace(report, reporter="", text="")
                state.reports[id_] = (nameless, entry_id)
        state.forget_user(user)
        return False

    async def finish_deletion(self, user: str) -> None:
        standing = await self.standing(user)
        self._state.standings[user] = standing._replace(is_deleting=False)
