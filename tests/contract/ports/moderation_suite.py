"""The suites of the ports of moderation and accounts, and of what they change in other ports.

Where an edition applies a change later, the tests wait for it by `settle` and `standing_of`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import pytest

from contract.ports import suite
from contract.ports.suite import (
    ALICE,
    BOB,
    ROOT,
    Adapters,
    a_comment,
    a_post,
    a_record,
    later_query,
    ready,
    shown,
    stored_post,
)
from fakes import accounts as memory_accounts
from image_poster.adapters.dynamodb import standing as dynamodb_blocks
from image_poster.adapters.sqlite import accounts as sqlite_accounts
from image_poster.domain.accounts import MAX_BLOCKS, Block, Standing
from image_poster.domain.comments import Comment, decode_comment
from image_poster.domain.decisions import Verdict
from image_poster.domain.errors import (
    AccountDeletedError,
    AppealMadeError,
    BannedError,
    BlockedError,
    BusyError,
    CommentNotFoundError,
    DecisionConflictError,
    DecisionNotFoundError,
    GoneError,
    ImagePosterError,
    PostNotFoundError,
    PostNotReadyError,
    TooManyBlocksError,
)
from image_poster.domain.feed import EPOCH_MS, FeedSort
from image_poster.domain.idempotency import AlreadyAnsweredError
from image_poster.domain.identity import Identity
from image_poster.domain.ids import rfc3339
from image_poster.domain.moderation import (
    Action,
    AlreadyReportedError,
    Appeal,
    Decision,
    EntryKind,
    Match,
    ModerationRecords,
    NewEntry,
    QueueEntry,
    Reason,
    Report,
    Subject,
    admin_action,
)
from image_poster.domain.posts import (
    IMAGE_BLOCKED,
    Post,
    PostEdit,
    PostStatus,
    edited_post,
    published_post,
    rejected_post,
)
from image_poster.ports.accounts import AccountStore, BlockStore
from image_poster.ports.moderation import BlockedHashes, DecisionStore, ReportStore
from support.renderer import RENDERED

NOW = "2026-02-02T00:00:00.000Z"
# A change of a standing takes effect within this time (`AccountStore.standing`).
STANDING_MS = 15_000


@dataclass(kw_only=True)
class ModerationAdapters(Adapters):
    """The ports of one back-end, with those of moderation and accounts."""

    reports: ReportStore
    decisions: DecisionStore
    hashes: BlockedHashes
    blocks: BlockStore
    accounts: AccountStore


@dataclass(kw_only=True)
class MachineModerationAdapters(ModerationAdapters, suite.MachineAdapters):
    """Those of one machine."""


def a_report(
    adapters: Adapters, post_id: str, comment_id: str | None = None, reporter: str = "bob"
) -> Report:
    id_ = adapters.clock.new_id()
    return Report(id_, reporter, post_id, comment_id, Reason.SPAM, "look at this", NOW)


def a_decision(
    adapters: Adapters,
    action: Action,
    subject: Subject,
    *,
    by: str = "root",
    until: str | None = None,
) -> Decision:
    reason = Reason.SPAM if action in {Action.HIDE, Action.DELETE, Action.BAN} else None
    id_ = adapters.clock.new_id()
    return Decision(id_, by, action, *subject, reason, "because", until, NOW)


async def decide(
    adapters: ModerationAdapters, action: Action, subject: Subject, *, until: str | None = None
) -> Verdict:
    return await adapters.decisions.decide(a_decision(adapters, action, subject, until=until))


async def hidden(adapters: ModerationAdapters) -> str:
    """A post of alice with two comments by bob, hidden."""
    post_id = await ready(adapters)
    for _ in range(2):
        await adapters.comments.add(a_comment(post_id))
    await adapters.settle()
    await decide(adapters, Action.HIDE, Subject(post_id))
    return post_id


async def in_review(adapters: ModerationAdapters) -> str:
    post = a_post()
    await adapters.posts.add(post)
    entry = NewEntry(adapters.clock.new_id(), EntryKind.REVIEW, NOW)
    await adapters.posts.update(
        post.id,
        lambda current: published_post(current, RENDERED, PostStatus.IN_REVIEW),
        records=ModerationRecords(entry=entry),
    )
    return post.id


async def queue(adapters: ModerationAdapters) -> list[QueueEntry]:
    """All open entries."""
    await adapters.settle()
    entries, after = list[QueueEntry](), None
    while True:
        page = await adapters.decisions.queue(limit=2, after=after)
        entries += page.items
        after = page.next
        if after is None:
            return entries


async def log(adapters: ModerationAdapters) -> list[Decision]:
    """The whole log, newest first."""
    await adapters.settle()
    decisions, after = list[Decision](), None
    while True:
        page = await adapters.decisions.log(limit=2, after=after)
        decisions += page.items
        after = page.next
        if after is None:
            return decisions


async def outcomes(adapters: ModerationAdapters, reporter: str = "bob") -> list[str | None]:
    """The outcomes of a user's reports, newest first."""
    await adapters.settle()
    page = await adapters.reports.page(reporter, limit=10, after=None)
    return [report.outcome for report in page.items]


async def standing_of(adapters: ModerationAdapters, user: str) -> Standing:
    """The user's standing once each change has taken effect."""
    adapters.clock.advance(STANDING_MS)
    return await adapters.accounts.standing(user)


async def feed_ids(adapters: Adapters, sort: FeedSort = FeedSort.TOP) -> list[str]:
    await adapters.settle()
    page = await adapters.feed.page(later_query(adapters, sort=sort, limit=100))
    return [stored.id for stored in page.items]


def edited(content: str) -> Callable[[Comment], Comment]:
    return lambda comment: msgspec.structs.replace(comment, content=content)


async def finish_deletion(adapters: ModerationAdapters, user: str) -> None:
    """Finish a deletion, as background work does: a store may be busy soon after another one."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await adapters.accounts.finish_deletion(user)
            except BusyError:
                await asyncio.sleep(0.05)


@pytest.mark.anyio
class ReportStoreSuite:
    async def test_reports_are_listed_newest_first_for_their_reporter_only(
        self, adapters: ModerationAdapters
    ) -> None:
        reports = [a_report(adapters, await ready(adapters)) for _ in range(3)]
        for report in reports:
            await adapters.reports.add(report)
        await adapters.reports.add(a_report(adapters, await ready(adapters), reporter="carol"))
        await adapters.settle()
        first = await adapters.reports.page("bob", limit=2, after=None)
        assert first.next is not None
        second = await adapters.reports.page("bob", limit=2, after=first.next)
        assert [*first.items, *second.items] == reports[::-1]
        assert second.next is None

    async def test_a_second_report_of_one_subject_returns_the_first_while_that_is_open(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        first, second = a_report(adapters, post_id), a_report(adapters, post_id)
        await adapters.reports.add(first)
        with pytest.raises(AlreadyReportedError) as former:
            await adapters.reports.add(second)
        assert former.value.report == first
        await decide(adapters, Action.DISMISS, Subject(post_id))
        await adapters.reports.add(second)
        assert await outcomes(adapters) == [None, "dismissed"]

    async def test_a_post_its_comment_and_another_user_have_reports_of_their_own(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        comment = a_comment(post_id, "carol")
        await adapters.comments.add(comment)
        await adapters.reports.add(a_report(adapters, post_id))
        await adapters.reports.add(a_report(adapters, post_id, comment.id))
        await adapters.reports.add(a_report(adapters, post_id, reporter="dave"))
        entries = await queue(adapters)
        subjects = [(entry.subject, entry.reports) for entry in entries]
        assert subjects == [(Subject(post_id), 2), (Subject(post_id, comment.id), 1)]

    async def test_a_key_that_was_used_comes_before_the_report_that_is_open(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        await adapters.reports.add(a_report(adapters, post_id), a_record("key"))
        with pytest.raises(AlreadyAnsweredError) as used:
            await adapters.reports.add(a_report(adapters, post_id), a_record("key", body=b"other"))
        assert used.value.record == a_record("key")

    async def test_a_refused_report_leaves_its_key_unused(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        await adapters.reports.add(a_report(adapters, post_id))
        with pytest.raises(AlreadyReportedError):
            await adapters.reports.add(a_report(adapters, post_id), a_record("key"))
        await adapters.reports.add(a_report(adapters, await ready(adapters)), a_record("key"))

    async def test_reported_posts_are_known_whatever_became_of_the_report(
        self, adapters: ModerationAdapters
    ) -> None:
        opened, closed, other, commented = [await ready(adapters) for _ in range(4)]
        comment = a_comment(commented, "carol")
        await adapters.comments.add(comment)
        await adapters.reports.add(a_report(adapters, opened))
        await adapters.reports.add(a_report(adapters, closed))
        await adapters.reports.add(a_report(adapters, other, reporter="carol"))
        await adapters.reports.add(a_report(adapters, commented, comment.id))
        await decide(adapters, Action.DISMISS, Subject(closed))
        await adapters.settle()
        ids = [opened, closed, other, commented]
        assert await adapters.reports.reported_posts("bob", ids) == {opened, closed}
        assert await adapters.reports.reported_posts("bob", []) == frozenset()

    async def test_an_entry_counts_its_reports_by_reason_and_has_the_newest_five(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        reports = [a_report(adapters, post_id, reporter=f"user{number}") for number in range(7)]
        reports[0] = msgspec.structs.replace(reports[0], reason=Reason.NUDITY, created_at="first")
        for report in reports:
            await adapters.reports.add(report)
        (entry,) = await queue(adapters)
        assert (entry.kind, entry.subject, entry.since) == (
            EntryKind.REPORT,
            Subject(post_id),
            "first",
        )
        assert (entry.reports, entry.reasons) == (7, {"nudity": 1, "spam": 6})
        assert list(entry.latest) == reports[:1:-1]
        assert (entry.appeal, entry.match) == (None, None)

    async def test_reports_are_closed_when_their_subject_is_deleted(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        comments = [a_comment(post_id, "carol") for _ in range(2)]
        for comment in comments:
            await adapters.comments.add(comment)
            await adapters.reports.add(a_report(adapters, post_id, comment.id))
        await adapters.reports.add(a_report(adapters, post_id))
        await adapters.settle()
        await adapters.comments.remove(post_id, comments[0].id, Identity("carol"))
        assert await outcomes(adapters) == [None, None, "deleted"]
        await adapters.posts.remove(post_id, ALICE)
        assert await outcomes(adapters) == ["deleted"] * 3
        assert await queue(adapters) == []


@pytest.mark.anyio
class HiddenPostSuite:
    """Of `DecisionStore.decide`, with `PostStore`, `CommentStore` and `FeedReader`."""

    async def test_a_hidden_post_is_in_no_feed_and_not_ready(
        self, adapters: ModerationAdapters
    ) -> None:
        shown_id, post_id = await ready(adapters), await hidden(adapters)
        for sort in FeedSort:
            assert await feed_ids(adapters, sort) == [shown_id]
        assert not await adapters.posts.is_ready(post_id)
        assert (await stored_post(adapters, post_id)).post.status is PostStatus.HIDDEN

    async def test_a_restored_post_comes_back_with_its_comments_count_and_rank(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id, newer = await hidden(adapters), await ready(adapters)
        before = await shown(adapters, post_id)
        await decide(adapters, Action.RESTORE, Subject(post_id))
        after = await shown(adapters, post_id)
        assert (after.total_comments, after.latest_comments) == (2, before.latest_comments)
        assert after.post.status is PostStatus.READY
        assert await feed_ids(adapters, FeedSort.TOP) == [post_id, newer]
        assert await feed_ids(adapters, FeedSort.NEW) == [newer, post_id]
        assert await adapters.posts.is_ready(post_id)

    @pytest.mark.parametrize("sort", list(FeedSort))
    async def test_a_walk_that_began_before_a_post_was_hidden_does_not_show_it(
        self, adapters: ModerationAdapters, sort: FeedSort
    ) -> None:
        ids = [await ready(adapters) for _ in range(6)]
        for post_id in ids:
            await adapters.comments.add(a_comment(post_id))
        await adapters.settle()
        query = later_query(adapters, sort=sort, limit=2)
        page = await adapters.feed.page(query)
        listed = [stored.id for stored in page.items]
        assert listed == ids[:-3:-1]
        adapters.clock.advance(4 * EPOCH_MS)
        for _ in range(2):  # its past rank lies before the walk, its own behind
            await adapters.comments.add(a_comment(ids[1]))
        await adapters.settle()
        for hidden_id in (ids[1], ids[2]):
            await decide(adapters, Action.HIDE, Subject(hidden_id))
        await adapters.settle()
        while page.next is not None:
            query = msgspec.structs.replace(query, after=page.next, epoch=query.epoch + 4)
            page = await adapters.feed.page(query)
            listed += [stored.id for stored in page.items]
        assert listed == [ids[5], ids[4], ids[3], ids[0]]

    async def test_a_hidden_post_accepts_no_comment_and_tells_only_who_may_see_it(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await hidden(adapters)
        with pytest.raises(PostNotFoundError):
            await adapters.comments.add(a_comment(post_id))
        with pytest.raises(PostNotReadyError):
            await adapters.comments.add(a_comment(post_id, "alice"))
        with pytest.raises(PostNotReadyError):
            await adapters.comments.add(a_comment(post_id, "root"), by_admin=True)

    @pytest.mark.parametrize("by", [ROOT, ALICE, BOB])
    async def test_a_comment_on_a_hidden_post_is_deleted_by_those_concerned(
        self, adapters: ModerationAdapters, by: Identity
    ) -> None:
        """An admin, the post's creator and the author; for others the post does not exist."""
        post_id = await hidden(adapters)
        first, second = (await shown(adapters, post_id)).latest_comments
        with pytest.raises(PostNotFoundError):
            await adapters.comments.remove(post_id, first.id, Identity("carol"))
        await adapters.comments.remove(post_id, first.id, by)
        await adapters.settle()
        await decide(adapters, Action.RESTORE, Subject(post_id))
        post = await shown(adapters, post_id)
        assert (post.total_comments, post.latest_comments) == (1, [second])
        assert (await adapters.rebuilder.rebuild(None, 10)).drifted == []

    async def test_the_creator_deletes_a_hidden_post_and_others_do_not_see_it(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await hidden(adapters)
        with pytest.raises(PostNotFoundError):
            await adapters.posts.remove(post_id, BOB)
        await adapters.posts.remove(post_id, ALICE)
        assert await adapters.posts.find(post_id) is None

    async def test_own_posts_are_listed_by_their_statuses_newest_first(
        self, adapters: ModerationAdapters
    ) -> None:
        hidden_id, ready_id = await hidden(adapters), await ready(adapters)
        reviewed = await in_review(adapters)
        await ready(adapters, "bob")
        await adapters.settle()
        everything = await adapters.feed.own_posts("alice", frozenset(PostStatus), 2, None)
        assert [post.stored.id for post in everything.items] == [reviewed, ready_id]
        assert everything.next is not None
        rest = await adapters.feed.own_posts("alice", frozenset(PostStatus), 2, everything.next)
        assert [post.stored.id for post in rest.items] == [hidden_id]
        for status, post_id in (
            (PostStatus.HIDDEN, hidden_id),
            (PostStatus.READY, ready_id),
            (PostStatus.IN_REVIEW, reviewed),
        ):
            page = await adapters.feed.own_posts("alice", frozenset({status}), 9, None)
            assert [post.stored.id for post in page.items] == [post_id]


@pytest.mark.anyio
class DecisionStoreSuite:
    async def test_a_decision_is_logged_with_its_owner_and_in_force(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        decision = a_decision(adapters, Action.HIDE, Subject(post_id))
        verdict = await adapters.decisions.decide(decision)
        logged = msgspec.structs.replace(decision, owner="alice")
        assert (verdict.decision, verdict.is_new) == (logged, True)
        assert await log(adapters) == [logged]
        assert await adapters.decisions.in_force(post_id) == (logged, None)
        about = await adapters.decisions.about("alice", limit=10, after=None)
        assert about == ([(logged, None)], None)
        assert await adapters.decisions.about("bob", limit=10, after=None) == ([], None)

    async def test_the_log_and_the_decisions_about_a_user_are_pages_newest_first(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        actions = [Action.HIDE, Action.RESTORE, Action.HIDE, Action.DELETE]
        decisions = [
            (await decide(adapters, action, Subject(post_id))).decision for action in actions
        ]
        assert await log(adapters) == decisions[::-1]
        first = await adapters.decisions.about("alice", limit=3, after=None)
        rest = await adapters.decisions.about("alice", limit=3, after=first.next)
        assert [item.decision for item in [*first.items, *rest.items]] == decisions[::-1]
        assert rest.next is None

    async def test_the_decision_in_force_set_the_state(self, adapters: ModerationAdapters) -> None:
        post_id = await ready(adapters)
        assert await adapters.decisions.in_force(post_id) is None
        hiding = await decide(adapters, Action.HIDE, Subject(post_id))
        await adapters.decisions.appeal(hiding.decision.id, "alice", Appeal("please", NOW))
        await decide(adapters, Action.DISMISS, Subject(post_id))
        await adapters.settle()
        notice = await adapters.decisions.in_force(post_id)
        assert notice == (hiding.decision, Appeal("please", NOW, "dismissed"))

    async def test_repeating_the_decision_in_force_adds_nothing(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        first = await decide(adapters, Action.HIDE, Subject(post_id))
        second = await decide(adapters, Action.HIDE, Subject(post_id))
        assert (second.decision, second.is_new) == (first.decision, False)
        assert len(await log(adapters)) == 1

    async def test_a_decision_that_does_not_fit_changes_nothing(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        for action in (Action.RESTORE, Action.PUBLISH, Action.DISMISS):
            decision = a_decision(adapters, action, Subject(post_id))
            with pytest.raises(DecisionConflictError):
                await adapters.decisions.decide(decision, a_record("key", "root"))
        with pytest.raises(PostNotFoundError):
            await decide(adapters, Action.HIDE, Subject(adapters.clock.new_id()))
        with pytest.raises(CommentNotFoundError):
            await decide(adapters, Action.DELETE, Subject(post_id, adapters.clock.new_id()))
        assert await log(adapters) == []
        decision = a_decision(adapters, Action.HIDE, Subject(post_id))
        await adapters.decisions.decide(decision, a_record("key", "root"))

    async def test_a_decision_with_a_used_key_is_not_made_again(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id, record = await ready(adapters), a_record("key", "root")
        hiding = a_decision(adapters, Action.HIDE, Subject(post_id))
        await adapters.decisions.decide(hiding, record)
        await decide(adapters, Action.RESTORE, Subject(post_id))
        with pytest.raises(AlreadyAnsweredError) as used:
            await adapters.decisions.decide(hiding, record)
        assert used.value.record == record
        assert await adapters.posts.is_ready(post_id)

    @pytest.mark.parametrize(
        ("action", "outcome"),
        [(Action.HIDE, "hidden"), (Action.DELETE, "deleted"), (Action.DISMISS, "dismissed")],
    )
    async def test_a_decision_closes_all_reports_of_its_subject_only(
        self, adapters: ModerationAdapters, action: Action, outcome: str
    ) -> None:
        post_id, other_id = await ready(adapters), await ready(adapters)
        for reporter in ("bob", "carol"):
            await adapters.reports.add(a_report(adapters, post_id, reporter=reporter))
        await adapters.reports.add(a_report(adapters, other_id))
        await decide(adapters, action, Subject(post_id))
        assert await outcomes(adapters) == [None, outcome]
        assert await outcomes(adapters, "carol") == [outcome]
        assert [entry.subject for entry in await queue(adapters)] == [Subject(other_id)]

    async def test_entries_are_pages_oldest_first(self, adapters: ModerationAdapters) -> None:
        ids = [await ready(adapters) for _ in range(5)]
        for post_id in ids:
            await adapters.reports.add(a_report(adapters, post_id))
        assert [entry.subject.post_id for entry in await queue(adapters)] == ids

    async def test_a_deleted_post_is_gone_with_the_entries_of_its_comments(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        comment = a_comment(post_id, "carol")
        await adapters.comments.add(comment)
        await adapters.reports.add(a_report(adapters, post_id, comment.id))
        verdict = await decide(adapters, Action.DELETE, Subject(post_id))
        assert verdict.decision.owner == "alice"
        assert await adapters.posts.find(post_id) is None
        assert await adapters.posts.was_deleted(post_id)
        assert await feed_ids(adapters) == []
        assert await outcomes(adapters) == ["deleted"]
        repeated = await decide(adapters, Action.DELETE, Subject(post_id))
        assert (repeated.decision, repeated.is_new) == (verdict.decision, False)

    async def test_a_deleted_comment_leaves_the_counts_and_its_record(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await hidden(adapters)
        first, second = (await shown(adapters, post_id)).latest_comments
        verdict = await decide(adapters, Action.DELETE, Subject(post_id, first.id))
        assert verdict.decision.owner == "bob"
        post = await shown(adapters, post_id)
        assert (post.total_comments, post.latest_comments) == (1, [second])
        with pytest.raises(CommentNotFoundError):
            await adapters.comments.find(post_id, first.id)
        assert not (await decide(adapters, Action.DELETE, Subject(post_id, first.id))).is_new

    async def test_a_dismissal_leaves_a_post_in_review_that_only_a_publication_ends(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await in_review(adapters)
        await adapters.reports.add(a_report(adapters, post_id))
        await decide(adapters, Action.DISMISS, Subject(post_id))
        (entry,) = await queue(adapters)
        assert (entry.kind, entry.subject) == (EntryKind.REVIEW, Subject(post_id))
        assert await feed_ids(adapters) == []
        await decide(adapters, Action.PUBLISH, Subject(post_id))
        assert await queue(adapters) == []
        assert await feed_ids(adapters) == [post_id]

    async def test_a_false_match_is_published(self, adapters: ModerationAdapters) -> None:
        post = a_post()
        await adapters.posts.add(post)
        match = Match(decision=adapters.clock.new_id())
        entry = NewEntry(adapters.clock.new_id(), EntryKind.MATCH, NOW, match)
        ids = (post.id, None, None)
        rejection = Decision(
            adapters.clock.new_id(), "service", Action.REJECT, *ids, "image_blocked", "", None, NOW
        )
        await adapters.posts.update(
            post.id,
            lambda current: rejected_post(current, RENDERED, IMAGE_BLOCKED),
            records=ModerationRecords(rejection, entry),
        )
        (shown_entry,) = await queue(adapters)
        assert (shown_entry.kind, shown_entry.match) == (EntryKind.MATCH, match)
        notice = await adapters.decisions.in_force(post.id)
        assert notice == (msgspec.structs.replace(rejection, owner="alice"), None)
        await decide(adapters, Action.PUBLISH, Subject(post.id))
        assert await feed_ids(adapters) == [post.id]
        assert await queue(adapters) == []

    async def test_the_hash_of_a_deleted_image_is_blocked_if_the_decision_says_so(
        self, adapters: ModerationAdapters
    ) -> None:
        assert await adapters.hashes.nearest("0" * 64) is None
        hashes = {"f" * 64: True, "0" * 63 + "1": True, "0" * 64: False}
        decision_ids = dict[str, str]()
        for image_hash, block_image in hashes.items():
            post = a_post()
            await adapters.posts.add(post)
            await adapters.posts.update(
                post.id, lambda current: published_post(current, RENDERED), image_hash=image_hash
            )
            decision = a_decision(adapters, Action.DELETE, Subject(post.id))
            await adapters.decisions.decide(decision, block_image=block_image)
            decision_ids[image_hash] = decision.id
        assert await adapters.hashes.nearest("0" * 64) == (decision_ids["0" * 63 + "1"], 1)
        assert await adapters.hashes.nearest("f" * 62 + "00") == (decision_ids["f" * 64], 8)

    async def test_the_deletion_of_a_user_begins_with_its_decision(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        verdict = await decide(adapters, Action.DELETE, Subject(user="alice"))
        assert verdict.is_new
        assert verdict.decision.owner == "alice"
        assert await adapters.posts.is_ready(post_id)
        assert (await standing_of(adapters, "alice")).is_deleting
        assert await adapters.accounts.deleting() == ["alice"]


@pytest.mark.anyio
class BanSuite:
    """Of `DecisionStore.decide`, with the stores that refuse a banned user's writes."""

    async def test_a_banned_user_may_write_nothing_but_blocks_and_appeals(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        comment = a_comment(post_id)
        await adapters.comments.add(comment, a_record("key"))
        ban = await decide(adapters, Action.BAN, Subject(user="bob"))
        await refuses_writes(adapters, post_id, comment, BannedError)
        await adapters.blocks.add("bob", Block("carol", NOW))
        await adapters.decisions.appeal(ban.decision.id, "bob", Appeal("please", NOW))
        with pytest.raises(AlreadyAnsweredError):
            await adapters.comments.add(a_comment(post_id), a_record("key"))
        await adapters.comments.remove(post_id, comment.id, BOB)
        assert (await shown(adapters, post_id)).total_comments == 0

    async def test_a_ban_tells_its_reason_and_its_end(self, adapters: ModerationAdapters) -> None:
        until = rfc3339(adapters.clock.now_ms() + suite.DAY_MS)
        verdict = await decide(adapters, Action.BAN, Subject(user="bob"), until=until)
        ban = (await standing_of(adapters, "bob")).ban
        assert ban is not None
        assert (ban.reason, ban.until, ban.decision_id) == ("spam", until, verdict.decision.id)
        with pytest.raises(BannedError) as refused:
            await adapters.posts.add(a_post("bob"))
        assert (refused.value.reason, refused.value.until) == ("spam", until)

    async def test_a_ban_ends_by_itself_or_by_a_decision(
        self, adapters: ModerationAdapters
    ) -> None:
        until = rfc3339(adapters.clock.now_ms() + suite.DAY_MS)
        await decide(adapters, Action.BAN, Subject(user="bob"), until=until)
        adapters.clock.advance(suite.DAY_MS)
        await adapters.posts.add(a_post("bob"))
        with pytest.raises(DecisionConflictError):
            await decide(adapters, Action.UNBAN, Subject(user="bob"))
        await decide(adapters, Action.BAN, Subject(user="bob"))
        await decide(adapters, Action.UNBAN, Subject(user="bob"))
        assert await standing_of(adapters, "bob") == Standing()
        await adapters.posts.add(a_post("bob"))
        assert not (await decide(adapters, Action.UNBAN, Subject(user="bob"))).is_new

    async def test_a_ban_with_another_end_is_a_new_decision(
        self, adapters: ModerationAdapters
    ) -> None:
        until = rfc3339(adapters.clock.now_ms() + suite.DAY_MS)
        first = await decide(adapters, Action.BAN, Subject(user="bob"), until=until)
        again = await decide(adapters, Action.BAN, Subject(user="bob"), until=until)
        assert (again.decision, again.is_new) == (first.decision, False)
        assert (await decide(adapters, Action.BAN, Subject(user="bob"))).is_new
        ban = (await standing_of(adapters, "bob")).ban
        assert ban is not None
        assert ban.until is None


async def refuses_writes(
    adapters: ModerationAdapters, post_id: str, comment: Comment, error: type[ImagePosterError]
) -> None:
    """The stores refuse each write of bob, whose comment on this post exists."""
    with pytest.raises(error):
        await adapters.posts.add(a_post("bob"))
    with pytest.raises(error):
        await adapters.comments.add(a_comment(post_id))
    with pytest.raises(error):
        await adapters.comments.update(post_id, comment.id, edited("other"))
    with pytest.raises(error):
        await adapters.reports.add(a_report(adapters, post_id))


@pytest.mark.anyio
class AppealSuite:
    """Of `DecisionStore.appeal`."""

    async def test_an_appeal_is_an_entry_until_it_is_dismissed(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        verdict = await decide(adapters, Action.HIDE, Subject(post_id))
        appeal = Appeal("it is harmless", NOW)
        await adapters.decisions.appeal(verdict.decision.id, "alice", appeal)
        (entry,) = await queue(adapters)
        assert (entry.kind, entry.subject) == (EntryKind.APPEAL, Subject(post_id))
        assert (entry.appeal, entry.appealed) == (appeal, verdict.decision)
        assert entry.since == NOW
        about = await adapters.decisions.about("alice", limit=10, after=None)
        assert about.items == [(verdict.decision, appeal)]
        await decide(adapters, Action.DISMISS, Subject(post_id))
        assert await queue(adapters) == []
        notice = await adapters.decisions.in_force(post_id)
        assert notice is not None
        assert notice.appeal == Appeal(appeal.text, NOW, "dismissed")

    async def test_an_appeal_that_is_granted_is_closed_and_not_dismissed(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        verdict = await decide(adapters, Action.HIDE, Subject(post_id))
        await adapters.decisions.appeal(verdict.decision.id, "alice", Appeal("please", NOW))
        await decide(adapters, Action.RESTORE, Subject(post_id))
        assert await queue(adapters) == []
        about = await adapters.decisions.about("alice", limit=10, after=None)
        assert [item.appeal for item in about.items] == [None, Appeal("please", NOW)]

    async def test_a_decision_has_one_appeal_by_its_owner_if_it_took_something(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await ready(adapters)
        hiding = (await decide(adapters, Action.HIDE, Subject(post_id))).decision
        restoring = (await decide(adapters, Action.RESTORE, Subject(post_id))).decision
        appeal = Appeal("please", NOW)
        for decision_id in (hiding.id, adapters.clock.new_id()):
            with pytest.raises(DecisionNotFoundError):
                await adapters.decisions.appeal(decision_id, "bob", appeal)
        with pytest.raises(DecisionConflictError):
            await adapters.decisions.appeal(restoring.id, "alice", appeal)
        await adapters.decisions.appeal(hiding.id, "alice", appeal, a_record("key", "alice"))
        with pytest.raises(AppealMadeError):
            await adapters.decisions.appeal(hiding.id, "alice", appeal)
        with pytest.raises(AlreadyAnsweredError):
            await adapters.decisions.appeal(hiding.id, "alice", appeal, a_record("key", "alice"))

    async def test_the_appeals_of_a_ban_and_of_a_deletion_can_be_dismissed(
        self, adapters: ModerationAdapters
    ) -> None:
        subjects = [(Action.BAN, Subject(user="alice"))]
        subjects += [(Action.DELETE, Subject(await ready(adapters)))]
        for action, subject in subjects:
            verdict = await decide(adapters, action, subject)
            await adapters.decisions.appeal(verdict.decision.id, "alice", Appeal("please", NOW))
            assert [entry.subject for entry in await queue(adapters)] == [subject]
            dismissal = await decide(adapters, Action.DISMISS, subject)
            assert (dismissal.is_new, dismissal.decision.owner) == (True, "alice")
            assert await queue(adapters) == []
            assert not (await decide(adapters, Action.DISMISS, subject)).is_new


@pytest.mark.anyio
class LoggedChangeSuite:
    """Of the parameters `decision` and `records` of `PostStore` and `CommentStore`."""

    async def test_an_admins_deletions_are_logged_once_and_only_of_others(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id, own = await ready(adapters), await ready(adapters, "root")
        comment, commented = a_comment(post_id), Subject(post_id)
        await adapters.comments.add(comment)
        await adapters.settle()
        subject = Subject(post_id, comment.id)
        deletion = admin_action(adapters.clock.new_id(), ROOT, Action.DELETE, subject, 0)
        for _ in range(2):
            await adapters.comments.remove(post_id, comment.id, ROOT, decision=deletion)
        of_post = admin_action(adapters.clock.new_id(), ROOT, Action.DELETE, commented, 0)
        for _ in range(2):
            await adapters.posts.remove(post_id, ROOT, decision=of_post)
        of_own = admin_action(adapters.clock.new_id(), ROOT, Action.DELETE, Subject(own), 0)
        await adapters.posts.remove(own, ROOT, decision=of_own)
        logged = [(entry.id, entry.owner) for entry in await log(adapters)]
        assert deletion is not None
        assert of_post is not None
        assert logged == [(of_post.id, "alice"), (deletion.id, "bob")]

    async def test_an_edit_is_logged_if_it_changes_the_post(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id, subject = await ready(adapters), Subject
        edit = admin_action(adapters.clock.new_id(), ROOT, Action.EDIT, subject(post_id), 0)
        records = ModerationRecords(edit)

        def change(post: Post) -> Post:
            return edited_post(post, ROOT, PostEdit("new"), now=NOW)

        await adapters.posts.update(post_id, lambda post: post, records=records)
        assert await log(adapters) == []
        await adapters.posts.update(post_id, change, records=records)
        assert edit is not None
        assert await log(adapters) == [msgspec.structs.replace(edit, owner="alice")]
        assert await adapters.decisions.in_force(post_id) is None


@pytest.mark.anyio
class BlockStoreSuite:
    async def test_blocks_are_pages_by_name_and_may_be_repeated(
        self, adapters: ModerationAdapters
    ) -> None:
        for name in ("carol", "Dave", "erin", "carol"):
            await adapters.blocks.add("alice", Block(name, NOW))
        await adapters.blocks.add("bob", Block("alice", NOW))
        assert await adapters.blocks.blocked_by("alice") == {"Dave", "carol", "erin"}
        first = await adapters.blocks.page("alice", limit=2, after=None)
        assert first.items == [Block("Dave", NOW), Block("carol", NOW)]
        rest = await adapters.blocks.page("alice", limit=2, after=first.next)
        assert rest == ([Block("erin", NOW)], None)
        for _ in range(2):
            await adapters.blocks.remove("alice", "carol")
        assert await adapters.blocks.blocked_by("alice") == {"Dave", "erin"}
        assert await adapters.blocks.blocked_by("bob") == {"alice"}

    async def test_a_user_has_so_many_blocks_at_most(
        self, adapters: ModerationAdapters, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Here ten, as a thousand take long; over HTTP, one machine is asked for the thousand."""
        assert MAX_BLOCKS == 1_000
        for module in (dynamodb_blocks, sqlite_accounts, memory_accounts):
            monkeypatch.setattr(module, "MAX_BLOCKS", 10)
        for number in range(10):
            await adapters.blocks.add("alice", Block(f"user{number}", NOW))
        with pytest.raises(TooManyBlocksError):
            await adapters.blocks.add("alice", Block("one more", NOW))
        await adapters.blocks.add("alice", Block("user7", NOW))
        await adapters.blocks.remove("alice", "user7")
        await adapters.blocks.add("alice", Block("one more", NOW))

    @pytest.mark.parametrize(("blocker", "blocked"), [("alice", "bob"), ("bob", "alice")])
    async def test_blocked_users_comment_on_no_post_of_each_other(
        self, adapters: ModerationAdapters, blocker: str, blocked: str
    ) -> None:
        post_id, own = await ready(adapters), await ready(adapters, "bob")
        before = a_comment(post_id)
        await adapters.comments.add(before)
        await adapters.blocks.add(blocker, Block(blocked, NOW))
        with pytest.raises(BlockedError):
            await adapters.comments.add(a_comment(post_id), a_record("key"))
        with pytest.raises(BlockedError):
            await adapters.comments.update(post_id, before.id, edited("other"))
        await adapters.comments.add(a_comment(own))
        await adapters.comments.add(a_comment(post_id, "carol"))
        await adapters.settle()
        await adapters.comments.remove(post_id, before.id, BOB)
        await adapters.blocks.remove(blocker, blocked)
        await adapters.comments.add(a_comment(post_id), a_record("key"))
        assert (await shown(adapters, post_id)).total_comments == 2

    async def test_a_comment_on_a_hidden_post_is_refused_as_such_first(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id = await hidden(adapters)
        await adapters.blocks.add("alice", Block("bob", NOW))
        with pytest.raises(PostNotFoundError):
            await adapters.comments.add(a_comment(post_id))


@pytest.mark.anyio
class AccountStoreSuite:
    async def test_no_store_accepts_a_write_of_an_account_that_is_being_deleted(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id, ban = await ready(adapters), Subject(user="bob")
        comment = a_comment(post_id)
        await adapters.comments.add(comment)
        decision = (await decide(adapters, Action.BAN, ban)).decision
        for _ in range(2):
            await adapters.accounts.begin_deletion("bob")
        assert await adapters.accounts.deleting() == ["bob"]
        await refuses_writes(adapters, post_id, comment, AccountDeletedError)
        with pytest.raises(AccountDeletedError):
            await adapters.blocks.add("bob", Block("carol", NOW))
        with pytest.raises(AccountDeletedError):
            await adapters.decisions.appeal(decision.id, "bob", Appeal("please", NOW))
        await adapters.comments.add(a_comment(post_id, "carol"))
        standing = await standing_of(adapters, "bob")
        assert standing.is_deleting
        assert standing.ban is not None

    async def test_a_ban_survives_the_deletion_and_the_name_may_begin_anew(
        self, adapters: ModerationAdapters
    ) -> None:
        await decide(adapters, Action.BAN, Subject(user="bob"))
        for user in ("alice", "bob"):
            await adapters.accounts.begin_deletion(user)
            await finish_deletion(adapters, user)
        assert await adapters.accounts.deleting() == []
        assert await standing_of(adapters, "alice") == Standing()
        standing = await standing_of(adapters, "bob")
        assert (standing.is_deleting, standing.ban is not None) == (False, True)
        await adapters.posts.add(a_post("alice"))
        with pytest.raises(BannedError):
            await adapters.posts.add(a_post("bob"))

    async def test_posts_of_any_status_are_found(self, adapters: ModerationAdapters) -> None:
        ids = {await ready(adapters), await hidden(adapters), await in_review(adapters)}
        ids.add(await suite.processing(adapters))
        await ready(adapters, "bob")
        await adapters.settle()
        post_ids = await adapters.accounts.posts_of("alice", 10)
        assert (set(post_ids), len(post_ids)) == (ids, 4)
        assert set(await adapters.accounts.posts_of("alice", 3)) < ids
        for post_id in post_ids:
            await adapters.posts.remove(post_id, Identity("", admin=True))
        await adapters.settle()
        assert await adapters.accounts.posts_of("alice", 10) == []

    async def test_a_users_comments_are_pages_newest_first_without_those_on_deleted_posts(
        self, adapters: ModerationAdapters
    ) -> None:
        posts = [await ready(adapters) for _ in range(2)]
        deleted = await ready(adapters)
        comments = [a_comment(posts[number % 2], content=str(number)) for number in range(5)]
        for comment in [*comments, a_comment(deleted), a_comment(posts[0], "carol")]:
            await adapters.comments.add(comment)
        await adapters.posts.remove(deleted, ALICE)
        await adapters.settle()
        documents, after = list[bytes](), None
        while True:
            page = await adapters.accounts.comments_of("bob", limit=2, after=after)
            documents += page.items
            after = page.next
            if after is None:
                break
        assert [decode_comment(document) for document in documents] == comments[::-1]

    async def test_comments_are_erased_in_steps_and_the_counts_follow(
        self, adapters: ModerationAdapters
    ) -> None:
        shown_id, hidden_id = await ready(adapters), await ready(adapters)
        deleted = await ready(adapters)
        carols_comment = a_comment(shown_id, "carol")
        await adapters.comments.add(carols_comment)
        for post_id in [shown_id, hidden_id, deleted] * 4:
            comment = a_comment(post_id)
            location = f"/posts/{post_id}/comments/{comment.id}"
            record = a_record(comment.id, body=b"text", location=location)
            await adapters.comments.add(comment, record)
        await adapters.reports.add(a_report(adapters, shown_id, carols_comment.id, "dave"))
        (newest, *_), _ = await adapters.comments.page(shown_id, limit=9, after=None)
        reported = decode_comment(newest).id
        await adapters.reports.add(a_report(adapters, shown_id, reported, "dave"))
        await adapters.settle()
        await decide(adapters, Action.HIDE, Subject(hidden_id))
        await adapters.posts.remove(deleted, ALICE)
        await erase_comments(adapters, "bob", 3)
        for post_id, total in ((shown_id, 1), (hidden_id, 0)):
            post = await shown(adapters, post_id)
            assert (post.total_comments, len(post.latest_comments)) == (total, total)
        assert (await shown(adapters, shown_id)).latest_comments == [carols_comment]
        assert (await adapters.rebuilder.rebuild(None, 10)).drifted == []
        assert await outcomes(adapters, "dave") == ["deleted", None]
        with pytest.raises(AlreadyAnsweredError) as used:
            await adapters.comments.add(a_comment(shown_id), a_record(reported))
        assert used.value.record.body == b""

    async def test_records_are_erased_and_a_late_retry_revives_nothing(
        self, adapters: ModerationAdapters
    ) -> None:
        post_id, own = await ready(adapters), await ready(adapters, "bob")
        report = a_report(adapters, post_id)
        await adapters.reports.add(report, a_record("key"))
        await adapters.reports.add(
            a_report(adapters, own, reporter="carol"), a_record("k", "carol")
        )
        await adapters.blocks.add("bob", Block("carol", NOW))
        await adapters.blocks.add("carol", Block("bob", NOW))
        hiding = (await decide(adapters, Action.HIDE, Subject(own))).decision
        await adapters.decisions.appeal(hiding.id, "bob", Appeal("please", NOW))
        await adapters.accounts.begin_deletion("bob")
        await erase_records(adapters, "bob", 2)
        (entry,) = [entry for entry in await queue(adapters) if entry.kind is EntryKind.REPORT]
        assert (entry.reports, entry.reasons) == (1, {"spam": 1})
        nameless = msgspec.structs.replace(report, reporter="", text="")
        assert list(entry.latest) == [nameless]
        assert await outcomes(adapters) == []
        assert await adapters.blocks.blocked_by("bob") == frozenset()
        assert await adapters.blocks.blocked_by("carol") == {"bob"}
        ((decision, appeal),), _ = await adapters.decisions.about("bob", limit=9, after=None)
        assert decision == hiding
        assert appeal is None or appeal.text == ""
        await finish_deletion(adapters, "bob")
        with pytest.raises(GoneError):
            await adapters.comments.add(a_comment(post_id), a_record("key"))
        with pytest.raises(AlreadyAnsweredError):
            await adapters.comments.add(a_comment(post_id, "carol"), a_record("k", "carol"))
        await adapters.comments.add(a_comment(post_id), a_record("another key"))


async def erase_comments(adapters: ModerationAdapters, user: str, limit: int) -> None:
    """As the service does, step by step."""
    while await adapters.accounts.erase_comments(user, limit):
        await adapters.settle()
    await adapters.settle()


async def erase_records(adapters: ModerationAdapters, user: str, limit: int) -> None:
    """As the service does, step by step."""
    while await adapters.accounts.erase_records(user, limit):
        await adapters.settle()
    await adapters.settle()
