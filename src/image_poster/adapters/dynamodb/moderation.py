"""Decisions and appeals in DynamoDB. Each is one transaction with the entries of the queue that it
opens or closes."""

from collections.abc import Callable
from typing import NamedTuple

from image_poster.adapters.dynamodb import boto, database, entries, schema
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.comments import DynamoCommentStore
from image_poster.adapters.dynamodb.idempotency import live_clearing, record_writes
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.standing import (
    WriterCheck,
    accept_writer,
    banning,
    beginning,
    standing_of,
)
from image_poster.domain.accounts import Ban
from image_poster.domain.decisions import NO_HASH, SubjectState, Verdict, closes, judge
from image_poster.domain.errors import AppealMadeError, DecisionConflictError, DecisionNotFoundError
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.identity import Identity
from image_poster.domain.ids import least_id, milliseconds_of, parse_rfc3339
from image_poster.domain.moderation import (
    APPEALABLE,
    Action,
    Appeal,
    AppealedDecision,
    Decision,
    EntryKind,
    NewEntry,
    QueueEntry,
    Subject,
)
from image_poster.domain.posts import Post
from image_poster.domain.signing import Page
from image_poster.ports import Clock

HASHES = "HASHES"
_HASHES_AT_A_TIME = 1000
_CLOCKS_DIFFER_MS = 10 * 60 * 1000


class _Loaded(NamedTuple):
    """The items by which a decision is judged. `content` is that of the post, comment or account;
    `slots` have the open entries."""

    content: database.Item | None
    decisions: entries.SubjectDecisions
    slots: list[database.Item]
    state: SubjectState


class DynamoDecisionStore:
    """`DecisionStore` and `BlockedHashes` in DynamoDB. `posts` and `comments` are the stores of
    this process; `changed` is called with the name of a user whom a decision concerns."""

    def __init__(
        self,
        table: BotoTable,
        clock: Clock,
        posts: DynamoPostStore,
        comments: DynamoCommentStore,
        *,
        check_may_write: WriterCheck = accept_writer,
        changed: Callable[[str], object] = bool,
    ) -> None:
        self._table = table
        self._clock = clock
        self._posts = posts
        self._comments = comments
        self._check_may_write = check_may_write
        self._changed = changed
        self._hashes: dict[str, int] = {}

    async def queue(self, *, limit: int, after: str | None) -> Page[QueueEntry, str]:
        query = database.Query(
            entries.QUEUE, limit, on="due", names=("due", "due_at"), ascending=True, after=after
        )
        page = await boto.item_page(self._table, query)
        items = await self._table.get_many([schema.key_of(item) for item in page.items])
        # The index is a moment behind; the items have the current state.
        open_entries = [entries.entry_of(item) for item in items if entries.is_open(item)]
        return Page(sorted(open_entries, key=lambda entry: entry.id), page.next)

    async def check_unused(self, record: IdempotencyRecord | None) -> None:
        await record_writes(self._table, record, self._clock)

    @database.retried
    async def decide(
        self,
        decision: Decision,
        record: IdempotencyRecord | None = None,
        *,
        block_image: bool = False,
    ) -> Verdict:
        recording = await record_writes(self._table, record, self._clock)
        loaded = await self._load(decision.subject)
        verdict = judge(decision, loaded.state)
        if not verdict.is_new:
            return verdict
        writes = [
            *entries.logging(verdict.decision, loaded.decisions),
            *_closings(decision, loaded.slots),
            *await self._effects(verdict, loaded, block_image=block_image),
            *recording,
        ]
        await self._table.transact(writes)
        await self._follow(decision)
        return verdict

    async def log(self, *, limit: int, after: str | None) -> Page[Decision, str]:
        query = database.Query(entries.LOG, limit, before=after)
        page = await boto.item_page(self._table, query)
        return Page([entries.decision_of(item["doc"]) for item in page.items], page.next)

    async def about(
        self, owner: str, *, limit: int, after: str | None
    ) -> Page[AppealedDecision, str]:
        prefix = entries.OWNED
        query = database.Query(
            schema.user_partition(owner),
            limit,
            before=boto.start_key(prefix, after),
            prefix=prefix,
        )
        page = await boto.item_page(self._table, query)
        decisions = await entries.appealed(self._table, page.items)
        return Page(decisions, None if page.next is None else page.next.removeprefix(prefix))

    async def in_force(self, post_id: str) -> AppealedDecision | None:
        decisions = await entries.find_decisions(self._table, Subject(post_id))
        decision = decisions.in_force
        if decision is None:
            return None
        item = await self._table.get(entries.owned_key(decision.owner, decision.id))
        appealed = await entries.appealed(self._table, [item] if item else [])
        return appealed[0] if appealed else AppealedDecision(decision, None)

    @database.retried
    async def appeal(
        self,
        decision_id: str,
        owner: str,
        appeal: Appeal,
        record: IdempotencyRecord | None = None,
    ) -> None:
        recording = await record_writes(self._table, record, self._clock)
        await self._check_may_write(owner, while_banned=True)
        item = await self._table.get(entries.owned_key(owner, decision_id))
        decision = _appealable(item)
        slot = await self._table.get(entries.entry_key(decision.subject, EntryKind.APPEAL))
        if slot is not None and entries.is_open(slot):
            entry = entries.entry_of(slot)
        else:
            new = NewEntry(self._clock.new_id(), EntryKind.APPEAL, appeal.created_at)
            entry = entries.new_entry(new, decision.subject)
        marking = database.Update(
            entries.owned_key(owner, decision_id),
            put={
                "appeal_text": appeal.text,
                "appealed_at": appeal.created_at,
                "appeal_entry": entry.id,
            },
            when=(database.Has(database.PK), database.Lacks("appealed_at")),
        )
        storing = entries.storing(entry._replace(appeal=appeal, appealed=decision), slot)
        await self._table.transact([marking, storing, *recording])

    async def nearest(self, image_hash: str) -> tuple[str, int] | None:
        await self._load_new_hashes()
        bits = int(image_hash, 16)
        distances = [
            ((bits ^ blocked).bit_count(), decision_id)
            for decision_id, blocked in self._hashes.items()
        ]
        if not distances:
            return None
        distance, decision_id = min(distances)
        return decision_id, distance

    async def _load_new_hashes(self) -> None:
        """Read the hashes that were blocked since the last call; none is ever removed. Ids come
        from several clocks, so those of the last minutes are read again."""
        after = None
        if self._hashes:
            after = least_id(milliseconds_of(max(self._hashes)) - _CLOCKS_DIFFER_MS)
        query = database.Query(HASHES, _HASHES_AT_A_TIME, ascending=True, after=after)
        async for item in boto.all_items(self._table, query):
            self._hashes[str(item[database.SK])] = int(str(item["hash"]), 16)

    async def _load(self, subject: Subject) -> _Loaded:
        """Read the state of a subject."""
        content = await self._table.get(_content_key(subject))
        decisions = await entries.find_decisions(self._table, subject)
        slots = await entries.open_entries(self._table, subject)
        state = SubjectState(
            open_kinds=frozenset(entries.entry_of(slot).kind for slot in slots),
            last=decisions.last,
            in_force=decisions.in_force,
        )
        if subject.user is not None:
            standing = standing_of(content)
            ban = standing.ban_in_force(self._clock.now_ms())
            state = state._replace(owner=subject.user, ban=ban, is_deleting=standing.is_deleting)
        elif content is not None and await self._is_there(subject, content):
            post = schema.stored_post(content).post if subject.comment_id is None else None
            state = state._replace(owner=str(content["creator"]), post=post)
        return _Loaded(content, decisions, slots, state)

    async def _is_there(self, subject: Subject, content: database.Item) -> bool:
        """True if a post or comment with this item was not deleted, nor its post."""
        if "deleted_by" in content:
            return False
        post_id = subject.post_id or ""
        return subject.comment_id is None or await self._posts.find(post_id) is not None

    async def _effects(
        self, verdict: Verdict, loaded: _Loaded, *, block_image: bool
    ) -> list[database.Write]:
        """The writes of a new decision to its post, comment or account."""
        decision, item = verdict.decision, loaded.content
        if decision.user is not None:
            return _account_writes(decision, decision.user, loaded.state, self._clock.now_ms())
        if item is None:
            return []
        if verdict.post is not None:
            before: Post = schema.stored_post(item).post
            return [self._posts.changing(item, before, verdict.post)]
        if decision.action is not Action.DELETE:
            return []
        clearing = await live_clearing(self._table, item)
        blocking = _blocking(decision, item) if block_image else []
        return [self._removing(decision), *clearing, *blocking]

    def _removing(self, decision: Decision) -> database.Update:
        by, post_id = Identity(decision.by, admin=True), decision.post_id or ""
        if decision.comment_id is not None:
            return self._comments.removing(post_id, decision.comment_id, by)
        return self._posts.removing(post_id, by)

    async def _follow(self, decision: Decision) -> None:
        """Do what follows from a stored decision. For a deleted post, its purge repeats it."""
        if decision.user is not None:
            self._changed(decision.user)
        if decision.post_id is None or decision.comment_id is not None:
            return
        self._comments.forget(decision.post_id)
        if decision.action is Action.DELETE:
            await entries.close_deleted(self._table, decision.subject)


def _content_key(subject: Subject) -> database.Key:
    if subject.user is not None:
        return schema.account_key(subject.user)
    post_id = subject.post_id or ""
    if subject.comment_id is not None:
        return schema.comment_key(post_id, subject.comment_id)
    return schema.post_key(post_id)


def _closings(decision: Decision, slots: list[database.Item]) -> list[database.Write]:
    """The writes that close the subject's own open entries."""
    return [
        write
        for slot in slots
        if closes(decision.action, entries.entry_of(slot).kind)
        for write in entries.closing(slot, decision.action)
    ]


def _account_writes(
    decision: Decision, user: str, state: SubjectState, now_ms: int
) -> list[database.Write]:
    """The writes of a decision about a user. The deletion of an account begins here."""
    if decision.action is Action.DELETE:
        return [] if state.is_deleting else [beginning(user, now_ms)]
    if decision.action is Action.BAN:
        until_ms = None if decision.until is None else parse_rfc3339(decision.until)
        return [banning(user, Ban(decision.reason, until_ms, decision.id))]
    return [banning(user, None)] if decision.action is Action.UNBAN else []


def _blocking(decision: Decision, post: database.Item) -> list[database.Write]:
    """The write that blocks the image of a deleted post. Raises `DecisionConflictError` if it has
    no hash."""
    if not post.get("image_hash"):
        raise DecisionConflictError(NO_HASH)
    key = database.Key(HASHES, decision.id)
    return [database.Update(key, put={"hash": post["image_hash"]})]


def _appealable(item: database.Item | None) -> Decision:
    """The decision of an item, if it may be appealed. Raises `DecisionNotFoundError`,
    `AppealMadeError` and `DecisionConflictError`."""
    if item is None:
        raise DecisionNotFoundError
    if "appealed_at" in item:
        raise AppealMadeError
    decision = entries.decision_of(item["doc"])
    if decision.action not in APPEALABLE:
        raise DecisionConflictError
    return decision
