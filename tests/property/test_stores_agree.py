"""Whatever is done in whatever order, SQLite and the memory say the same of it, and the counts are
those of the comments."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from contract.ports.suite import a_comment, a_post
from fakes.clock import ManualClock
from fakes.comments import MemoryCommentStore
from fakes.feed import MemoryFeedReader
from fakes.jobs import MemoryJobQueue
from fakes.posts import MemoryPostStore, MemoryTombstoneQueue
from fakes.state import MemoryState
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import SqliteFeedReader
from image_poster.adapters.sqlite.idempotency import SqliteTombstoneQueue
from image_poster.adapters.sqlite.jobs import SqliteJobQueue
from image_poster.adapters.sqlite.maintenance import SqliteFeedRebuilder
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.errors import ImagePosterError
from image_poster.domain.feed import FeedQuery, FeedSort
from image_poster.domain.identity import Identity
from image_poster.domain.posts import Failure, PostEdit, edited_post, failed_post, published_post
from support.renderer import RENDERED

USERS = st.sampled_from(
    [Identity("alice"), Identity("bob"), Identity("carol"), Identity("root", admin=True)]
)


class StoresAgree(RuleBasedStateMachine):
    """Every rule is done to both; their answers, refusals included, must be equal."""

    posts = Bundle("posts")
    comments = Bundle("comments")

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.clock = ManualClock()
        self.runner.run(self.open_adapters())

    async def open_adapters(self) -> None:
        clock, state = self.clock, MemoryState()
        self.database = Database(Path(self.folder.name, "test.db"))
        self.memory: dict[str, Any] = {
            "posts": MemoryPostStore(state, clock),
            "comments": MemoryCommentStore(state, clock),
            "feed": MemoryFeedReader(state),
            "jobs": MemoryJobQueue(state, clock),
            "tombstones": MemoryTombstoneQueue(state),
        }
        self.sqlite: dict[str, Any] = {
            "posts": SqlitePostStore(self.database, clock),
            "comments": SqliteCommentStore(self.database, clock),
            "feed": SqliteFeedReader(self.database),
            "jobs": SqliteJobQueue(self.database, clock),
            "tombstones": SqliteTombstoneQueue(self.database),
        }

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.database.close())
            self.runner.close()
            self.folder.cleanup()

    def both(self, action: Callable[[dict[str, Any]], Awaitable[Any]]) -> Any:
        async def outcome(ports: dict[str, Any]) -> Any:
            try:
                return await action(ports)
            except ImagePosterError as refusal:
                return type(refusal)

        in_memory = self.runner.run(outcome(self.memory))
        in_sqlite = self.runner.run(outcome(self.sqlite))
        assert in_memory == in_sqlite
        return in_memory

    @rule(target=posts, creator=st.sampled_from(["alice", "bob"]))
    def add_post(self, creator: str) -> str:
        post = a_post(creator)
        self.both(lambda ports: ports["posts"].add(post))
        self.clock.advance(1)
        return post.id

    @rule(post_id=posts)
    def publish(self, post_id: str) -> None:
        self.both(
            lambda ports: ports["posts"].update(
                post_id, lambda post: published_post(post, RENDERED)
            )
        )

    @rule(post_id=posts)
    def reject(self, post_id: str) -> None:
        bad = Failure("image_unreadable", "broken")
        self.both(lambda ports: ports["posts"].update(post_id, lambda post: failed_post(post, bad)))

    @rule(post_id=posts, by=USERS, caption=st.text(max_size=5))
    def edit_post(self, post_id: str, by: Identity, caption: str) -> None:
        self.both(
            lambda ports: ports["posts"].update(
                post_id,
                lambda post: edited_post(
                    post, by, PostEdit(caption), now="2026-01-02T00:00:00.000Z"
                ),
            )
        )

    @rule(post_id=posts, by=USERS)
    def remove_post(self, post_id: str, by: Identity) -> None:
        self.both(lambda ports: ports["posts"].remove(post_id, by))

    @rule(target=comments, post_id=posts, author=USERS, content=st.text(min_size=1, max_size=5))
    def add_comment(self, post_id: str, author: Identity, content: str) -> tuple[str, str]:
        comment = a_comment(post_id, author.user, content)
        self.both(lambda ports: ports["comments"].add(comment))
        return post_id, comment.id

    @rule(known=comments, content=st.text(min_size=1, max_size=5))
    def edit_comment(self, known: tuple[str, str], content: str) -> None:
        self.both(
            lambda ports: ports["comments"].update(
                *known, lambda comment: msgspec.structs.replace(comment, content=content)
            )
        )

    @rule(known=comments, by=USERS)
    def remove_comment(self, known: tuple[str, str], by: Identity) -> None:
        self.both(lambda ports: ports["comments"].remove(*known, by))

    @rule(post_id=posts, limit=st.integers(1, 4))
    def list_comments(self, post_id: str, limit: int) -> None:
        async def pages(ports: dict[str, Any]) -> list[Any]:
            walked, after = [], None
            while True:
                page = await ports["comments"].page(post_id, limit=limit, after=after)
                walked.append(page)
                if page.next is None:
                    return walked
                after = page.next

        self.both(pages)

    @rule(delay=st.integers(0, 100))
    def lease(self, delay: int) -> None:
        job = self.both(lambda ports: ports["jobs"].lease(100))
        if job is not None and delay % 3 == 0:
            self.both(lambda ports: ports["jobs"].retry(job, delay_ms=delay, error="broke"))
        elif job is not None and delay % 3 == 1:
            self.both(lambda ports: ports["jobs"].park(job, error="broke"))
        self.clock.advance(delay)

    @rule(post_id=posts)
    def replay(self, post_id: str) -> None:
        self.both(lambda ports: ports["jobs"].parked())
        self.both(lambda ports: ports["jobs"].replay(post_id))

    @rule()
    def clean_up(self) -> None:
        for post_id in self.both(lambda ports: ports["tombstones"].pending(100)):
            self.purge(post_id)

    def purge(self, post_id: str) -> None:
        while self.both(lambda ports: ports["tombstones"].purge_comments(post_id, 2)):
            pass
        self.both(lambda ports: ports["tombstones"].mark_purged(post_id))

    @rule(
        sort=st.sampled_from(list(FeedSort)),
        creator=st.sampled_from([None, "alice", "bob"]),
        limit=st.integers(1, 4),
    )
    def read_feed(self, sort: FeedSort, creator: str | None, limit: int) -> None:
        async def pages(ports: dict[str, Any]) -> list[Any]:
            walked, after = [], None
            while True:
                query = FeedQuery(epoch=1000, sort=sort, limit=limit, creator=creator, after=after)
                page = await ports["feed"].page(query)
                walked.append(page)
                if page.next is None:
                    return walked
                after = page.next

        self.both(pages)

    @invariant()
    def counts_are_those_of_the_comments(self) -> None:
        if hasattr(self, "database"):
            rebuilt = self.runner.run(
                SqliteFeedRebuilder(self.database, self.clock).rebuild(None, 1000)
            )
            assert rebuilt.drifted == []


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
