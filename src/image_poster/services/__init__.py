"""The operations of the API and of background work. Each module is about one noun, and each of its
services is a frozen dataclass of the ports that it needs. This module wires those that the API
calls."""

from collections.abc import Callable
from dataclasses import dataclass

from image_poster.domain.limits import Limits
from image_poster.domain.posts import StoredPost
from image_poster.domain.signing import CursorSigner
from image_poster.domain.uploads import UploadTargets
from image_poster.ports import Clock, RateLimiter
from image_poster.ports.accounts import AccountStore, BlockStore
from image_poster.ports.comments import CommentStore
from image_poster.ports.feed import FeedReader
from image_poster.ports.images import ImageStore
from image_poster.ports.moderation import DecisionStore, ReportStore
from image_poster.ports.posts import PostNotifier, PostStore
from image_poster.ports.uploads import PutUrlSigner, UploadQuota, UploadRecordStore, UploadStore
from image_poster.services.accounts import (
    AccountEraser,
    AccountService,
    ErasureStart,
    TokenRevocation,
    erase_all,
    revoke_no_tokens,
)
from image_poster.services.comments import CommentService
from image_poster.services.feed import FeedService
from image_poster.services.images import ImageService
from image_poster.services.moderation import (
    ForgetCopies,
    ModerationRenderers,
    ModerationService,
    ReportService,
)
from image_poster.services.posts import NULL_NOTIFIER, PostService, TextCheck, accept_text
from image_poster.services.upload_bodies import UNLIMITED, RefusedBytes, UserLimits
from image_poster.services.uploads import UploadService


@dataclass(frozen=True)
class Stores:
    """The ports that the services use; an edition fills them with its adapters."""

    posts: PostStore
    comments: CommentStore
    feed: FeedReader
    images: ImageStore
    uploads: UploadStore
    upload_records: UploadRecordStore
    put_urls: PutUrlSigner
    reports: ReportStore
    decisions: DecisionStore
    accounts: AccountStore
    blocks: BlockStore
    clock: Clock
    notifier: PostNotifier = NULL_NOTIFIER
    writes: RateLimiter = UNLIMITED
    upload_quota: UploadQuota = UNLIMITED
    revoke_tokens: TokenRevocation = revoke_no_tokens
    start_erasure: ErasureStart = erase_all
    forget_copies: ForgetCopies | None = None
    check_text: TextCheck = accept_text


@dataclass(frozen=True)
class Renderers:
    """Functions that encode resources as the API shows them; idempotency records keep these
    bodies."""

    post: Callable[[StoredPost], bytes]
    comment: Callable[[bytes], bytes]
    reservation: Callable[[StoredPost, UploadTargets], bytes]
    moderation: ModerationRenderers


@dataclass(frozen=True)
class Services:
    """One service a noun, the stores that they use, and the limits in force."""

    posts: PostService
    comments: CommentService
    feed: FeedService
    images: ImageService
    uploads: UploadService
    reports: ReportService
    moderation: ModerationService
    accounts: AccountService
    user_limits: UserLimits
    stores: Stores
    limits: Limits


def build_services(
    stores: Stores,
    limits: Limits,
    cursors: CursorSigner,
    render: Renderers,
    *,
    poll_seconds: float = 0.05,
) -> Services:
    """Build the services over one edition's stores. A request that waits for a post reads it again
    at each notification, and every `poll_seconds`."""
    clock = stores.clock
    posts = _post_service(stores, limits, render, poll_seconds)
    eraser = AccountEraser(stores.accounts, posts, stores.revoke_tokens)
    accounts = AccountService(stores.accounts, stores.blocks, eraser, clock, cursors)
    return Services(
        posts=posts,
        comments=_comment_service(stores, posts, accounts, limits, cursors, render),
        feed=FeedService(stores.feed, cursors, clock, stores.blocks, stores.reports),
        images=ImageService(posts, stores.posts, stores.images),
        uploads=_upload_service(stores, posts, accounts, limits, render),
        reports=ReportService(
            stores.reports, stores.posts, stores.comments, clock, cursors, render.moderation
        ),
        moderation=_moderation_service(stores, accounts, cursors, render),
        accounts=accounts,
        user_limits=UserLimits(stores.writes, stores.upload_quota, limits.image_bytes),
        stores=stores,
        limits=limits,
    )


def _post_service(
    stores: Stores, limits: Limits, render: Renderers, poll_seconds: float
) -> PostService:
    return PostService(
        stores.posts,
        stores.images,
        stores.clock,
        limits,
        render.post,
        stores.notifier,
        poll_seconds,
        stores.check_text,
    )


def _comment_service(
    stores: Stores,
    posts: PostService,
    accounts: AccountService,
    limits: Limits,
    cursors: CursorSigner,
    render: Renderers,
) -> CommentService:
    return CommentService(
        stores.comments,
        posts,
        stores.clock,
        limits,
        cursors,
        render.comment,
        accounts.check_may_write,
        stores.check_text,
    )


def _upload_service(
    stores: Stores, posts: PostService, accounts: AccountService, limits: Limits, render: Renderers
) -> UploadService:
    return UploadService(
        stores.posts,
        stores.upload_records,
        stores.uploads,
        stores.put_urls,
        posts,
        stores.clock,
        limits,
        RefusedBytes(stores.upload_records, stores.upload_quota, posts, limits),
        render.reservation,
        accounts.check_may_write,
    )


def _moderation_service(
    stores: Stores, accounts: AccountService, cursors: CursorSigner, render: Renderers
) -> ModerationService:
    return ModerationService(
        stores.decisions,
        stores.posts,
        stores.comments,
        stores.images,
        accounts,
        stores.clock,
        cursors,
        render.moderation,
        stores.forget_copies,
    )
