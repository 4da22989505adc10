"""Counts stay exact under comments, deletions, decisions and deletions of accounts, in any order,
and the queue has exactly the open reports."""

import asyncio
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from contract.ports.suite import a_comment, a_post
from fakes.clock import ManualClock
from image_poster.adapters.sqlite.accounts import SqliteAccountStore, SqliteReportStore
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import SqliteFeedReader
from image_poster.adapters.sqlite.maintenance import SqliteFeedRebuilder
from image_poster.adapters.sqlite.moderation import SqliteDecisionStore
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.comments import decode_comment
from image_poster.domain.errors import (
    AccountDeletedError,
    CommentNotFoundError,
    DecisionConflictError,
    ImagePosterError,
    PostNotFoundError,
)
from image_poster.domain.feed import FeedQuery, FeedSort
from image_poster.domain.identity import Identity
from image_poster.domain.ids import new_id
from image_poster.domain.moderation import (
    Action,
    AlreadyReportedError,
    Decision,
    EntryKind,
    Reason,
    Report,
    Subject,
)
from image_poster.domain.posts import PostStatus, published_post
from support.renderer import RENDERED

NAMES = ("alice", "bob", "carol")
USERS = st.sampled_from(NAMES)
ADMIN = Identity("root", admin=True)
TIME = "2026-01-01T00:00:00.000Z"
Result = TypeVar("Result")
# Few deletions, so that posts live long enough to have many comments.
ACTIONS = st.sampled_from([*[Action.HIDE] * 3, *[Action.RESTORE] * 3, Action.DELETE])
STATUS_AFTER = {Action.HIDE: PostStatus.HIDDEN, Action.RESTORE: PostStatus.READY}


class CountsStayExact(RuleBasedStateMachine):
    """A model of posts, comments and reports beside the stores of one machine."""

    posts = Bundle("posts")
    comments = Bundle("comments")

    @initialize(target=posts)
    def open(self) -> Any:
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.runner.get_loop()
        self.clock = ManualClock()
        self.creators: dict[str, str] = {}
        self.statuses: dict[str, PostStatus] = {}
        self.authors: dict[tuple[str, str], str] = {}
        self.reporters: dict[Subject, set[str]] = {}
        self.deleting: set[str] = set()
        self.runner.run(self.open_stores())
        return multiple(*map(self.new_post, NAMES))

    async def open_stores(self) -> None:
        self.database = Database(Path(self.folder.name, "test.db"))
        self.post_store = SqlitePostStore(self.database, self.clock)
        self.comment_store = SqliteCommentStore(self.database, self.clock)
        self.feed = SqliteFeedReader(self.database)
        self.decisions = SqliteDecisionStore(self.database, self.clock)
        self.reports = SqliteReportStore(self.database, self.clock)
        self.accounts = SqliteAccountStore(self.database, self.clock)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.database.close())
            self.runner.close()
            self.folder.cleanup()

    def run(self, action: Awaitable[Result]) -> Result:
        async def awaited() -> Result:
            return await action

        self.clock.advance(1)
        return self.runner.run(awaited())

    def error_of(self, action: Awaitable[Any]) -> type[Exception] | None:
        """The error of a refused action; None if it was accepted."""
        try:
            self.run(action)
        except (ImagePosterError, AlreadyReportedError) as exc:
            return type(exc)
        return None

    def new_post(self, creator: str) -> str:
        post = a_post(creator)
        self.run(self.post_store.add(post))
        self.run(self.post_store.update(post.id, lambda post: published_post(post, RENDERED)))
        self.creators[post.id], self.statuses[post.id] = creator, PostStatus.READY
        return post.id

    @rule(target=posts, creator=USERS)
    def publish(self, creator: str) -> Any:
        if creator not in self.deleting:
            return self.new_post(creator)
        assert self.error_of(self.post_store.add(a_post(creator))) is AccountDeletedError
        return multiple()

    @rule(target=comments, post_id=posts, authors=st.lists(USERS, min_size=1, max_size=6))
    def add_comments(self, post_id: str, authors: list[str]) -> Any:
        ids = [self.add_comment(post_id, author) for author in authors]
        return multiple(*filter(None, ids))

    def add_comment(self, post_id: str, author: str) -> tuple[str, str] | None:
        comment = a_comment(post_id, author)
        refusal = self.error_of(self.comment_store.add(comment))
        is_open = self.statuses.get(post_id) is PostStatus.READY
        assert (refusal is None) == (is_open and author not in self.deleting)
        if refusal is not None:
            return None
        self.authors[post_id, comment.id] = author
        return post_id, comment.id

    @rule(comment=comments)
    def remove_comment(self, comment: tuple[str, str]) -> None:
        """By an admin, who may also on a hidden post."""
        refusal = self.error_of(self.comment_store.remove(*comment, ADMIN))
        if comment in self.authors:
            is_erased = self.authors[comment] in self.deleting and refusal is not None
            assert refusal is None or is_erased
            self.forget_comment(comment)

    @precondition(lambda self: len(self.statuses) > len(NAMES))
    @rule(post_id=posts)
    def remove_post(self, post_id: str) -> None:
        if post_id in self.statuses:
            self.run(self.post_store.remove(post_id, ADMIN))
            self.forget_post(post_id)

    @rule(post_id=posts, reporter=USERS)
    def report_post(self, post_id: str, reporter: str) -> None:
        if post_id in self.statuses:
            self.report(Subject(post_id), reporter)

    @rule(comment=comments, reporter=USERS)
    def report_comment(self, comment: tuple[str, str], reporter: str) -> None:
        if comment in self.authors and self.authors[comment] not in self.deleting:
            self.report(Subject(*comment), reporter)

    def report(self, subject: Subject, reporter: str) -> None:
        report = Report(
            id=new_id(),
            reporter=reporter,
            post_id=subject.post_id or "",
            comment_id=subject.comment_id,
            reason=Reason.SPAM,
            text="a text",
            created_at=TIME,
        )
        refusal = self.error_of(self.reports.add(report))
        if reporter in self.deleting:
            assert refusal is AccountDeletedError
        elif reporter in self.reporters.get(subject, set()):
            assert refusal is AlreadyReportedError
        else:
            assert refusal is None
            self.reporters.setdefault(subject, set()).add(reporter)

    @rule(post_id=posts, action=ACTIONS)
    def decide_about_post(self, post_id: str, action: Action) -> None:
        before = self.statuses.get(post_id)
        refusal = self.error_of(self.decisions.decide(self.decision(action, Subject(post_id))))
        if before is None:
            return
        if action is Action.DELETE:
            assert refusal is None
            self.forget_post(post_id)
        elif before is STATUS_AFTER[action]:  # repeated, or never hidden
            assert refusal in {None, DecisionConflictError}
        else:
            assert refusal is None
            self.statuses[post_id] = STATUS_AFTER[action]
            self.reporters.pop(Subject(post_id), None)

    @rule(comment=comments)
    def delete_comment_by_decision(self, comment: tuple[str, str]) -> None:
        decision = self.decision(Action.DELETE, Subject(*comment))
        refusal = self.error_of(self.decisions.decide(decision))
        assert refusal in {None, CommentNotFoundError, PostNotFoundError}
        if comment in self.authors:
            assert refusal is None or self.authors[comment] in self.deleting
            self.forget_comment(comment)

    @rule(post_id=posts)
    def dismiss(self, post_id: str) -> None:
        subject = Subject(post_id)
        refusal = self.error_of(self.decisions.decide(self.decision(Action.DISMISS, subject)))
        if subject in self.reporters:
            assert refusal is None
            del self.reporters[subject]

    def decision(self, action: Action, subject: Subject) -> Decision:
        return Decision(
            id=new_id(),
            by=ADMIN.user,
            action=action,
            post_id=subject.post_id,
            comment_id=subject.comment_id,
            user=subject.user,
            reason=Reason.SPAM,
            text="",
            until=None,
            created_at=TIME,
        )

    @precondition(lambda self: not self.deleting)
    @rule(user=USERS)
    def begin_deletion(self, user: str) -> None:
        self.run(self.accounts.begin_deletion(user))
        self.deleting.add(user)

    @precondition(lambda self: self.deleting)
    @rule(limit=st.integers(1, 3))
    def erase_some_comments(self, limit: int) -> None:
        """One step of a deletion that a crash may interrupt afterwards."""
        (user,) = self.deleting
        self.run(self.accounts.erase_comments(user, limit))

    @precondition(lambda self: self.deleting)
    @rule()
    def end_deletion(self) -> None:
        (user,) = self.deleting
        for post_id in self.run(self.accounts.posts_of(user, 100)):
            self.run(self.post_store.remove(post_id, Identity("", admin=True)))
            self.forget_post(post_id)
        assert user not in self.creators.values()
        while self.run(self.accounts.erase_comments(user, 2)):
            pass
        while self.run(self.accounts.erase_records(user, 2)):
            pass
        self.run(self.accounts.finish_deletion(user))
        self.deleting.remove(user)
        for comment in [comment for comment, author in self.authors.items() if author == user]:
            self.forget_comment(comment)
        for reporters in self.reporters.values():
            if user in reporters:  # the report stays, without the name
                reporters.remove(user)
                reporters.add(new_id())
        assert self.run(self.accounts.comments_of(user, limit=10, after=None)).items == []

    def forget_comment(self, comment: tuple[str, str]) -> None:
        del self.authors[comment]
        self.reporters.pop(Subject(*comment), None)

    def forget_post(self, post_id: str) -> None:
        del self.statuses[post_id], self.creators[post_id]
        self.reporters.pop(Subject(post_id), None)
        for comment in [comment for comment in self.authors if comment[0] == post_id]:
            self.forget_comment(comment)

    def listed(self, post_id: str) -> set[str]:
        page = self.run(self.comment_store.page(post_id, limit=100, after=None))
        return {decode_comment(document).id for document in page.items}

    @invariant()
    def each_count_is_that_of_the_comments(self) -> None:
        if not hasattr(self, "database"):
            return
        for post_id, status in self.statuses.items():
            if status is not PostStatus.READY:
                continue
            stored = self.run(self.post_store.find(post_id))
            assert stored is not None
            listed = self.listed(post_id)
            assert stored.total_comments == len(listed)
            latest = [decode_comment(line).id for line in stored.latest_comments(10)]
            assert latest == sorted(listed, reverse=True)[:10]
            expected = {comment_id for at, comment_id in self.authors if at == post_id}
            assert listed <= expected
            erased = {self.authors[post_id, comment_id] for comment_id in expected - listed}
            assert erased <= self.deleting

    @invariant()
    def the_feed_has_exactly_the_ready_posts_in_order(self) -> None:
        if not hasattr(self, "database"):
            return
        ready = {post_id for post_id, status in self.statuses.items() if status is PostStatus.READY}
        for sort in FeedSort:
            page = self.run(self.feed.page(FeedQuery(epoch=10**6, sort=sort, limit=100)))
            assert {stored.id for stored in page.items} == ready
            if sort is FeedSort.TOP:
                ranks = [(stored.total_comments, stored.id) for stored in page.items]
                assert ranks == sorted(ranks, reverse=True)

    @invariant()
    def nothing_has_drifted(self) -> None:
        if hasattr(self, "database"):
            report = self.run(SqliteFeedRebuilder(self.database, self.clock).rebuild(None, 1000))
            assert report.drifted == []

    @invariant()
    def the_queue_has_exactly_the_open_reports(self) -> None:
        if not hasattr(self, "database"):
            return
        page = self.run(self.decisions.queue(limit=100, after=None))
        entries = {entry.subject: entry for entry in page.items}
        assert len(page.items) == len(entries)
        for subject, entry in entries.items():
            assert entry.kind is EntryKind.REPORT
            assert entry.reports == len(self.reporters[subject])
        for subject in self.reporters.keys() - entries.keys():  # erased, by steps of a deletion
            assert subject.post_id is not None
            assert subject.comment_id is not None
            assert self.authors[subject.post_id, subject.comment_id] in self.deleting


TestCountsStayExact = CountsStayExact.TestCase
TestCountsStayExact.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
