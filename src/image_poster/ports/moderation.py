"""Reports, the moderation queue, the log of decisions, and appeals."""

from collections.abc import Collection
from typing import Protocol

from image_poster.domain.decisions import (
    Verdict,
)
from image_poster.domain.idempotency import IdempotencyRecord
from image_poster.domain.moderation import (
    Appeal,
    AppealedDecision,
    Decision,
    QueueEntry,
    Report,
)
from image_poster.domain.signing import Page


class ReportStore(Protocol):
    """Stores users' reports. A report is open as long as the entry of the queue that it belongs to;
    its `outcome` is that of its entry."""

    async def add(self, report: Report, record: IdempotencyRecord | None = None) -> None:
        """Store a new report and its idempotency record, and count it in the open entry of its
        subject, which it may open.

        Raises `AlreadyAnsweredError`, with nothing stored, if the record's key was used; else
        `AlreadyReportedError` if the reporter has an open report of the same subject;
        `StorageFullError`.
        """
        ...

    async def check_unused(self, record: IdempotencyRecord | None) -> None:
        """Raises `AlreadyAnsweredError` if the record's key was used. For checks that precede
        `add`: the subject may be gone when a request is repeated."""
        ...

    async def page(self, reporter: str, *, limit: int, after: str | None) -> Page[Report, str]:
        """The reporter's reports, newest first, after the id `after`."""
        ...

    async def reported_posts(self, reporter: str, post_ids: Collection[str]) -> frozenset[str]:
        """Those of `post_ids` that the user reported, whatever became of the report. A report of a
        comment is none of its post."""
        ...


class DecisionStore(Protocol):
    """Stores the queue and the log. Each method that writes is one transaction."""

    async def queue(self, *, limit: int, after: str | None) -> Page[QueueEntry, str]:
        """The open entries, oldest first, after the entry with the id `after`."""
        ...

    async def check_unused(self, record: IdempotencyRecord | None) -> None:
        """Raises `AlreadyAnsweredError` if the record's key was used. For work that precedes
        `decide`: a repeated request must not do it."""
        ...

    async def decide(
        self,
        decision: Decision,
        record: IdempotencyRecord | None = None,
        *,
        block_image: bool = False,
    ) -> Verdict:
        """Judge the decision by the state of its subject (`domain.decisions.judge`), and apply it:
        the post's status, the user's ban, or the removal of a post or comment, as
        `PostStore.remove` and `CommentStore.remove` do; the entry of the log; the idempotency
        record. The subject's open entries are closed by the rule of `domain.decisions.closes`.
        `block_image`: the hash of the deleted post's image is blocked from then on. The deletion of
        a user begins here, as `AccountStore.begin_deletion` does.

        A repeated decision changes nothing. Raises `AlreadyAnsweredError`, with nothing stored, if
        the record's key was used; else the errors of `judge`, and `DecisionConflictError` for
        `block_image` of an image without a usable hash.
        """
        ...

    async def log(self, *, limit: int, after: str | None) -> Page[Decision, str]:
        """The log, newest first, after the id `after`."""
        ...

    async def about(
        self, owner: str, *, limit: int, after: str | None
    ) -> Page[AppealedDecision, str]:
        """The decisions about a user's content and account, newest first, after the id `after`."""
        ...

    async def in_force(self, post_id: str) -> AppealedDecision | None:
        """The newest decision that set the state of this post; None if there is none."""
        ...

    async def appeal(
        self,
        decision_id: str,
        owner: str,
        appeal: Appeal,
        record: IdempotencyRecord | None = None,
    ) -> None:
        """Store the owner's appeal against a decision, open an entry of the queue for its subject,
        and store the idempotency record.

        Raises `AlreadyAnsweredError`, with nothing stored, if the record's key was used; else
        `DecisionNotFoundError` if there is no such decision about this user; `AppealMadeError`;
        `DecisionConflictError` if its action is not in `domain.moderation.APPEALABLE`.
        """
        ...


class BlockedHashes(Protocol):
    """The perceptual hashes that decisions blocked."""

    async def nearest(self, image_hash: str) -> tuple[str, int] | None:
        """The id of the decision whose blocked hash is the nearest, and its distance in bits; None
        if no hash is blocked. `image_hash` has 64 hexadecimal digits."""
        ...
