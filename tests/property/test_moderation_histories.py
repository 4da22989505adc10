"""Counts stay those of the comments, and no feed shows a post that is not ready.

Histories mix comments, deletions, decisions, bans and deletions of accounts with crashes. SQLite
and the memory agree."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contract.ports.moderation_suite import NOW
from contract.ports.suite import a_comment, a_post, a_record
from fakes.accounts import MemoryAccountStore, MemoryBlockStore
from fakes.clock import ManualClock
from fakes.comments import MemoryCommentStore
from fakes.feed import MemoryFeedReader
from fakes.moderation import MemoryDecisionStore, MemoryReportStore
from fakes.posts import MemoryPostStore
from fakes.state import MemoryState
from image_poster.adapters.sqlite.accounts import (
    SqliteAccountStore,
    SqliteBlockStore,
    SqliteReportStore,
)
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import SqliteFeedReader
from image_poster.adapters.sqlite.maintenance import SqliteFeedRebuilder
from image_poster.adapters.sqlite.moderation import SqliteDecisionStore
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.accounts import Block
from image_poster.domain.comments import Comment
from image_poster.domain.errors import ImagePosterError
from image_poster.domain.feed import EPOCH_MS, FeedQuery, FeedSort, epoch_of
from image_poster.domain.idempotency import AlreadyAnsweredError
from image_poster.domain.identity import Identity
from image_poster.domain.moderation import (
    Action,
    AlreadyReportedError,
    Decision,
    Reason,
    Report,
    Subject,
)
from image_poster.domain.posts import PostStatus, published_post
from support.renderer import RENDERED

NAMES = ["alice", "bob", "carol"]
USERS = st.sampled_from(NAMES)
IDENTITIES = st.sampled_from([*map(Identity, NAMES), Identity("root", admin=True)])
POST_ACTIONS = st.sampled_from(
    [Action.HIDE, Action.RESTORE, Action.HIDE, Action.RESTORE, Action.DELETE, Action.DISMISS]
)
NOBODY = Identity("", admin=True)
NUMBERS = st.integers(0, 40)
Ports = dict[str, Any]


class Walk:
    """A walk through the feed that goes on while others write."""

    def __init__(self, sort: FeedSort, creator: str | None) -> None:
        self.sort, self.creator = sort, creator
        self.after: Any = None
        self.shown: list[str] = []


class ModerationHistories(RuleBasedStateMachine):
    """Every rule is done to both; their answers, refusals included, must be equal."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.clock, self.state = ManualClock(), MemoryState()
        self.keys = 0
        self.post_ids: list[str] = []
        self.comment_keys: list[tuple[str, str]] = []
        self.walks: list[Walk] = []
        self.runner.run(self.open_database())
        for creator in NAMES * 2:
            self.publish(creator, PostStatus.READY)
        for number in range(24):  # two by each of two users on each post
            self.add_comment(number // 4, NAMES[number % 2])
        self.walks += [Walk(FeedSort.TOP, None), Walk(FeedSort.TOP, "alice")]

    def new_comment(self, post_id: str, author: str) -> Comment:
        return msgspec.structs.replace(a_comment(post_id, author), id=self.clock.new_id())

    def post_of(self, number: int) -> str:
        return self.post_ids[number % len(self.post_ids)]

    def comment_of(self, number: int) -> tuple[str, str]:
        return self.comment_keys[number % len(self.comment_keys)]

    async def open_database(self) -> None:
        """New store objects over what is stored, as after a crash."""
        clock, state = self.clock, self.state
        self.database = database = Database(Path(self.folder.name, "test.db"))
        self.memory: Ports = {
            "posts": MemoryPostStore(state, clock),
            "comments": MemoryCommentStore(state, clock),
            "feed": MemoryFeedReader(state),
            "reports": MemoryReportStore(state, clock),
            "decisions": MemoryDecisionStore(state, clock),
            "blocks": MemoryBlockStore(state, clock),
            "accounts": MemoryAccountStore(state, clock),
        }
        self.sqlite: Ports = {
            "posts": SqlitePostStore(database, clock),
            "comments": SqliteCommentStore(database, clock),
            "feed": SqliteFeedReader(database),
            "reports": SqliteReportStore(database, clock),
            "decisions": SqliteDecisionStore(database, clock),
            "blocks": SqliteBlockStore(database, clock),
            "accounts": SqliteAccountStore(database, clock),
        }

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.database.close())
            self.runner.close()
            self.folder.cleanup()

    def both(self, action: Callable[[Ports], Awaitable[Any]]) -> Any:
        async def outcome(ports: Ports) -> Any:
            try:
                return await action(ports)
            except (ImagePosterError, AlreadyReportedError, AlreadyAnsweredError) as refusal:
                return type(refusal)

        in_memory = self.runner.run(outcome(self.memory))
        in_sqlite = self.runner.run(outcome(self.sqlite))
        assert in_memory == in_sqlite
        return in_memory

    def call(self, port: str, method: str, *arguments: Any, **named: Any) -> Any:
        return self.both(lambda ports: getattr(ports[port], method)(*arguments, **named))

    @rule(milliseconds=st.sampled_from([1, EPOCH_MS, 5 * EPOCH_MS]))
    def wait(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds)

    @rule()
    def crash(self) -> None:
        self.runner.run(self.database.close())
        self.runner.run(self.open_database())

    @rule(creator=USERS, status=st.sampled_from([PostStatus.READY, PostStatus.IN_REVIEW]))
    def publish(self, creator: str, status: PostStatus) -> None:
        post = msgspec.structs.replace(a_post(creator), id=self.clock.new_id())
        self.both(lambda ports: ports["posts"].add(post))
        self.both(
            lambda ports: ports["posts"].update(
                post.id, lambda current: published_post(current, RENDERED, status)
            )
        )
        self.post_ids.append(post.id)

    @rule(number=NUMBERS, author=USERS)
    def add_comment(self, number: int, author: str) -> None:
        post_id = self.post_of(number)
        comment = self.new_comment(post_id, author)
        self.keys += 1
        location = f"/posts/{post_id}/comments/{comment.id}"
        record = a_record(str(self.keys), author, location=location)
        self.both(lambda ports: ports["comments"].add(comment, record))
        self.comment_keys.append((post_id, comment.id))

    @rule(number=NUMBERS, key=st.integers(1, 20), author=USERS)
    def repeat_comment(self, number: int, key: int, author: str) -> None:
        comment = self.new_comment(self.post_of(number), author)
        self.both(lambda ports: ports["comments"].add(comment, a_record(str(key), author)))

    @rule(number=NUMBERS, text=st.sampled_from(["new", "newer"]))
    def edit_comment(self, number: int, text: str) -> None:
        self.both(
            lambda ports: ports["comments"].update(
                *self.comment_of(number),
                lambda comment: msgspec.structs.replace(comment, content=text),
            )
        )

    @rule(number=NUMBERS, by=IDENTITIES)
    def remove_comment(self, number: int, by: Identity) -> None:
        self.both(lambda ports: ports["comments"].remove(*self.comment_of(number), by))

    @rule(number=NUMBERS, by=IDENTITIES)
    def remove_post(self, number: int, by: Identity) -> None:
        self.both(lambda ports: ports["posts"].remove(self.post_of(number), by))

    @rule(number=NUMBERS, reporter=USERS, is_comment=st.booleans())
    def report_content(self, number: int, reporter: str, *, is_comment: bool) -> None:
        post_or_comment = self.comment_of(number) if is_comment else (self.post_of(number),)
        self.report(Subject(*post_or_comment), reporter)

    def report(self, subject: Subject, reporter: str) -> None:
        id_, (post_id, comment_id, _) = self.clock.new_id(), subject
        assert post_id is not None
        report = Report(id_, reporter, post_id, comment_id, Reason.SPAM, "text", NOW)
        self.both(lambda ports: ports["reports"].add(report))

    @rule(number=NUMBERS, action=POST_ACTIONS)
    def decide_about_post(self, number: int, action: Action) -> None:
        self.decide(Subject(self.post_of(number)), action)

    @rule(number=NUMBERS, action=st.sampled_from([Action.DELETE, Action.DISMISS]))
    def decide_about_comment(self, number: int, action: Action) -> None:
        self.decide(Subject(*self.comment_of(number)), action)

    @rule(user=USERS, action=st.sampled_from([Action.BAN, Action.UNBAN]))
    def decide_about_user(self, user: str, action: Action) -> None:
        self.decide(Subject(user=user), action)

    def decide(self, subject: Subject, action: Action) -> None:
        id_ = self.clock.new_id()
        decision = Decision(id_, "root", action, *subject, Reason.SPAM, "", None, NOW)
        self.both(lambda ports: ports["decisions"].decide(decision))

    @rule(user=USERS, blocked=USERS, is_block=st.booleans())
    def block(self, user: str, blocked: str, *, is_block: bool) -> None:
        if is_block:
            self.both(lambda ports: ports["blocks"].add(user, Block(blocked, NOW)))
        else:
            self.both(lambda ports: ports["blocks"].remove(user, blocked))

    @rule(user=USERS)
    def begin_deletion(self, user: str) -> None:
        self.both(lambda ports: ports["accounts"].begin_deletion(user))

    @rule()
    def erase_a_post(self) -> None:
        for user in self.deleting():
            for post_id in self.runner.run(self.sqlite["accounts"].posts_of(user, 1)):
                self.call("posts", "remove", post_id, NOBODY)

    @rule()
    def finish_deletions(self) -> None:
        """The last steps of both; how many there are differs."""
        for user in self.deleting():
            if self.runner.run(self.sqlite["accounts"].posts_of(user, 1)):
                continue
            for accounts in (self.memory["accounts"], self.sqlite["accounts"]):
                self.runner.run(self.erase(accounts, user))

    @staticmethod
    async def erase(accounts: Any, user: str) -> None:
        while await accounts.erase_comments(user, 2):
            pass
        while await accounts.erase_records(user, 2):
            pass
        await accounts.finish_deletion(user)

    def deleting(self) -> list[str]:
        users: list[str] = self.both(lambda ports: ports["accounts"].deleting())
        return users

    @rule()
    def read_the_lists(self) -> None:
        for sort in FeedSort:
            query = FeedQuery(sort=sort, limit=100, epoch=epoch_of(self.clock.service_ms()))
            self.call("feed", "page", query)
        self.call("decisions", "queue", limit=50, after=None)
        self.call("decisions", "log", limit=50, after=None)
        for user in NAMES:
            self.call("reports", "page", user, limit=50, after=None)
            self.call("accounts", "comments_of", user, limit=50, after=None)

    @rule(
        sort=st.sampled_from([FeedSort.TOP, FeedSort.TOP, FeedSort.NEW]),
        creator=st.sampled_from([None, None, "alice"]),
    )
    def begin_walk(self, sort: FeedSort, creator: str | None) -> None:
        self.walks.append(Walk(sort, creator))
        self.read_a_page(self.walks[-1])

    @rule(number=st.none() | NUMBERS)
    def continue_the_walks(self, number: int | None) -> None:
        """After a post was hidden, perhaps: it is the write that walks notice most."""
        if number is not None:
            self.decide(Subject(self.post_of(number)), Action.HIDE)
        for walk in self.walks:
            self.read_a_page(walk)

    def read_a_page(self, walk: Walk) -> None:
        """The next page; the first one after the last. The memory may fill its pages otherwise."""
        query = FeedQuery(
            epoch=epoch_of(self.clock.service_ms()),
            sort=walk.sort,
            limit=2,
            creator=walk.creator,
            after=walk.after,
        )
        page = self.runner.run(self.sqlite["feed"].page(query))
        walk.shown = walk.shown if walk.after else []
        walk.shown += [stored.id for stored in page.items]
        walk.after = page.next
        assert len(set(walk.shown)) == len(walk.shown)
        assert all(stored.post.status is PostStatus.READY for stored in page.items)

    @invariant()
    def counts_are_those_of_the_comments(self) -> None:
        if hasattr(self, "database"):
            rebuilder = SqliteFeedRebuilder(self.database, self.clock)
            assert self.runner.run(rebuilder.rebuild(None, 1000)).drifted == []


TestModerationHistories = ModerationHistories.TestCase
TestModerationHistories.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
