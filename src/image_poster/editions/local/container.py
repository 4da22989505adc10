"""The composition of the local edition: the class for each port."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import uvloop

from image_poster.adapters.clock import ServiceClock
from image_poster.adapters.files.filesystem import check_free_space
from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import FileUploadStore
from image_poster.adapters.images.memory import MemoryBudget
from image_poster.adapters.images.protocol import RenderSettings
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.adapters.sharing import (
    RateCounters,
    SharedNotifier,
    SharedRateLimiter,
    WriterLock,
)
from image_poster.adapters.sqlite.accounts import (
    SqliteAccountStore,
    SqliteBlockStore,
    SqliteReportStore,
)
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.events import SqliteOutbox
from image_poster.adapters.sqlite.feed import SqliteFeedReader
from image_poster.adapters.sqlite.idempotency import SqliteTombstoneQueue
from image_poster.adapters.sqlite.jobs import SqliteJobQueue, SqliteReviewQueue
from image_poster.adapters.sqlite.maintenance import SqliteFeedRebuilder, WriteProbe, greatest_time
from image_poster.adapters.sqlite.moderation import SqliteDecisionStore
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.adapters.sqlite.schema import SchemaTooNewError, SchemaTooOldError
from image_poster.adapters.sqlite.uploads import SqliteUploadQuota, SqliteUploadRecordStore
from image_poster.adapters.webhooks import HttpWebhookSender
from image_poster.domain.block_lists import check_words
from image_poster.domain.limits import LATEST_DEFAULT, write_rule
from image_poster.domain.signing import CursorSigner, Signer
from image_poster.editions import OperationFailedError, StartError
from image_poster.editions.local import access
from image_poster.editions.local.data_folder import (
    database_error,
    database_path,
    enter_with_database,
    image_memory_path,
)
from image_poster.editions.local.keys import revoke_deleted_user, signing_key, webhook_secrets
from image_poster.editions.local.maintenance import Rebuilder, Sweeper, UploadSettler
from image_poster.editions.local.moderation import (
    AccountDeletionRunner,
    BlockLists,
    FailedPostExpiry,
    RenditionReconciler,
)
from image_poster.editions.local.ownership import group_id, require_writable
from image_poster.editions.local.settings import Settings
from image_poster.http import gallery, metrics
from image_poster.http.app import RENDERERS, HttpSettings, create_app
from image_poster.http.images import ImageGrants
from image_poster.http.middleware import Middleware, log_access
from image_poster.http.post_bodies import post_body
from image_poster.http.uploads import HmacPutUrlSigner
from image_poster.ports.tracing import NULL_TRACER, Tracer
from image_poster.services import Services, Stores, build_services
from image_poster.services.events import EventDelivery, EventRenderer
from image_poster.services.images import ImagePublisher, JobRunner
from image_poster.services.posts import PostPurger
from image_poster.services.review import BlockedImages, ReviewMode, Screening
from image_poster.services.upload_bodies import UNLIMITED

Result = TypeVar("Result")

_LEASE_MARGIN_SECONDS = 30
# As `GET /posts/{id}` shows a post.
_render_post = partial(post_body, comments=LATEST_DEFAULT)
# For notifications that were missed.
_WAIT_POLL_SECONDS = 5.0


class Shared(NamedTuple):
    """The objects that the processes of one server share."""

    counts: RateCounters
    notifier: SharedNotifier
    writer_lock: WriterLock
    clock: ServiceClock

    @classmethod
    def alone(cls, clock: ServiceClock | None = None) -> "Shared":
        """The shared objects of a server with a single process."""
        return cls(RateCounters.create(), SharedNotifier(), WriterLock(), clock or ServiceClock())


@dataclass(frozen=True)
class Container:
    """One process's adapters over one data folder, and the services that use them."""

    settings: Settings
    database: Database
    images: FileImageStore
    uploads: FileUploadStore
    jobs: SqliteJobQueue
    tombstones: SqliteTombstoneQueue
    upload_records: SqliteUploadRecordStore
    put_urls: HmacPutUrlSigner
    upload_quota: SqliteUploadQuota
    decisions: SqliteDecisionStore
    reviews: SqliteReviewQueue
    outbox: SqliteOutbox
    image_grants: ImageGrants
    lists: BlockLists
    services: Services
    counts: RateCounters
    notifier: SharedNotifier
    clock: ServiceClock
    tracer: Tracer = NULL_TRACER

    @property
    def rebuilder(self) -> Rebuilder:
        """The service that recomputes counts and latest comments."""
        return Rebuilder(SqliteFeedRebuilder(self.database, self.services.stores.clock))

    @property
    def sweeper(self) -> Sweeper:
        """The service that removes leftovers of crashes and deletions."""
        purger = PostPurger(self.tombstones, self.images)
        stores = self.services.stores
        return Sweeper(stores.posts, self.images, self.tombstones, purger, stores.clock)

    @property
    def upload_settler(self) -> UploadSettler:
        """The service that completes and expires uploads."""
        services, stores = self.services, self.services.stores
        return UploadSettler(
            self.upload_records,
            self.images,
            self.uploads,
            services.uploads,
            services.posts,
            stores.clock,
        )

    def renderer(self) -> VipsImageRenderer:
        """The renderer, with child processes of its own; the caller must close it. All workers of a
        server share one memory budget for it."""
        settings = self.settings
        shared = image_memory_path(settings.data_dir) if settings.workers > 1 else None
        return VipsImageRenderer(
            RenderSettings(fit=settings.image_fit, max_pixels=settings.image_pixels),
            children=settings.image_workers,
            timeout_seconds=settings.image_seconds,
            memory=MemoryBudget(settings.limits.image_memory, shared),
            tracer=self.tracer,
        )

    def job_runner(self, renderer: VipsImageRenderer) -> JobRunner:
        """The service that runs image jobs when they are due."""
        matcher = BlockedImages(lambda: self.lists.images, self.decisions)
        screening = Screening(matcher, self.clock, ReviewMode(self.settings.review))
        posts = self.services.stores.posts
        publisher = ImagePublisher(
            posts, self.images, renderer, screening, self.reviews, self.tracer
        )
        # An image waits for memory as long as it may work, at most.
        lease_seconds = 2 * self.settings.image_seconds + _LEASE_MARGIN_SECONDS
        return JobRunner(self.jobs, publisher, lease_seconds * 1000, self.tracer)

    def app(self) -> Middleware:
        """The app that serves the contract."""
        settings = self.settings
        metrics.show_limits(settings.limits.rates)
        return create_app(
            self.services,
            WriteProbe(self.database).check,
            HttpSettings(
                authenticator=access.authenticator(settings),
                put_urls=self.put_urls,
                cors_origins=access.cors_origins(settings),
                public_url=settings.public_url,
                loopback_only=settings.auth == "dev" and not settings.insecure_dev_auth,
                observers=(metrics.observe, *([log_access] if settings.access_log else [])),
                routes=(*metrics.ROUTES, *gallery.routes()),
                addresses=access.address_limiter(settings, self.counts),
                file_senders=access.file_senders(settings),
                image_grants=self.image_grants,
            ),
        )

    @property
    def event_delivery(self) -> EventDelivery:
        """The service that delivers events to receivers of webhooks."""
        stores = self.services.stores
        renderer = EventRenderer(stores.posts, stores.comments, _render_post, RENDERERS.comment)
        sender = HttpWebhookSender(partial(webhook_secrets, self.settings.data_dir))
        return EventDelivery(self.outbox, renderer, sender, self.clock, tracer=self.tracer)

    @property
    def rendition_reconciler(self) -> RenditionReconciler:
        """The service that moves renditions to the place that their posts' status requires."""
        return RenditionReconciler(self.database, self.services.stores.posts, self.images)

    @property
    def failed_post_expiry(self) -> FailedPostExpiry:
        """The service that deletes failed posts in time."""
        services, stores = self.services, self.services.stores
        days = self.settings.failed_days
        return FailedPostExpiry(self.jobs, stores.posts, services.posts, stores.clock, days)

    @property
    def account_deletions(self) -> AccountDeletionRunner:
        """The service that completes deletions of accounts."""
        accounts, eraser = self.services.stores.accounts, self.services.accounts.eraser
        return AccountDeletionRunner(accounts, eraser, self.tombstones, self.sweeper)


@asynccontextmanager
async def open_container(
    settings: Settings, shared: Shared | None = None, *, database: Path | None = None
) -> AsyncIterator[Container]:
    """The container of `settings.data_dir`, closed at exit. `shared` is for a server with several
    processes, and `database` is a copy to use instead. Raises `StartError`."""
    shared = shared or Shared.alone()
    path = database or database_path(settings.data_dir)
    opened = _open_database(settings, path, shared.writer_lock)
    try:
        shared.clock.raise_to(greatest_time(opened))
        yield _compose(settings, opened, shared)
    finally:
        shared.counts.close()
        shared.notifier.close()
        await opened.close()
        shared.writer_lock.close()


def run_in_container(
    settings: Settings,
    action: Callable[[Container], Awaitable[Result]],
    database: Path | None = None,
) -> Result:
    """Return the result of a command's `action`, beside a running server or without one. `database`
    is a copy to use where the disk is read-only. Raises `StartError`, and `OperationFailedError`
    for an error of SQLite."""

    async def run() -> Result:
        async with open_container(settings, database=database) as container:
            return await action(container)

    enter_with_database(settings.data_dir)
    if database is None:
        require_writable(settings.data_dir)
    try:
        return uvloop.run(run())
    except sqlite3.DatabaseError as exc:
        path = database_path(settings.data_dir)
        raise OperationFailedError(
            f"the database {path} cannot be used: {exc}. Run `image-poster doctor`. If it finds "
            "the database damaged, restore a backup (docs/operations.md)."
        ) from exc


def _open_database(settings: Settings, path: Path, writer_lock: WriterLock) -> Database:
    check_space = partial(check_free_space, settings.data_dir, reserve=settings.disk_reserve)
    try:
        return Database(path, check_space, writer_lock.acquire)
    except (SchemaTooNewError, SchemaTooOldError) as exc:
        raise StartError(f"the database {path} cannot be used: {exc}.") from exc
    except sqlite3.DatabaseError as exc:
        raise database_error(path, exc) from exc


def _layout(settings: Settings) -> Layout:
    try:
        return Layout(settings.data_dir, 2 * settings.disk_reserve)
    except OSError as exc:
        raise StartError(f"data_dir {settings.data_dir} cannot be used: {exc}.") from exc


def _path(setting: str) -> Path | None:
    return Path(setting) if setting else None


class _Adapters(NamedTuple):
    """The adapters that both the services and the container use."""

    images: FileImageStore
    uploads: FileUploadStore
    upload_records: SqliteUploadRecordStore
    upload_quota: SqliteUploadQuota
    put_urls: HmacPutUrlSigner
    decisions: SqliteDecisionStore
    lists: BlockLists


def _adapters(settings: Settings, database: Database, shared: Shared, signer: Signer) -> _Adapters:
    layout = _layout(settings)
    return _Adapters(
        images=FileImageStore(layout, group_id(settings.renditions_group)),
        uploads=FileUploadStore(layout),
        upload_records=SqliteUploadRecordStore(database),
        upload_quota=SqliteUploadQuota(database, shared.clock, settings.limits),
        put_urls=HmacPutUrlSigner(signer),
        decisions=SqliteDecisionStore(database, shared.clock, shared.notifier),
        lists=BlockLists(_path(settings.blocked_images), _path(settings.blocked_words)),
    )


def _stores(settings: Settings, database: Database, shared: Shared, adapters: _Adapters) -> Stores:
    clock, notifier, lists = shared.clock, shared.notifier, adapters.lists
    writes = write_rule(settings.limits.rates)
    return Stores(
        posts=SqlitePostStore(database, clock, adapters.upload_quota, notifier),
        comments=SqliteCommentStore(database, clock),
        feed=SqliteFeedReader(database),
        images=adapters.images,
        uploads=adapters.uploads,
        upload_records=adapters.upload_records,
        put_urls=adapters.put_urls,
        reports=SqliteReportStore(database, clock),
        decisions=adapters.decisions,
        accounts=SqliteAccountStore(database, clock),
        blocks=SqliteBlockStore(database, clock),
        clock=clock,
        notifier=notifier,
        writes=UNLIMITED if writes is None else SharedRateLimiter(shared.counts, writes),
        upload_quota=adapters.upload_quota,
        revoke_tokens=partial(revoke_deleted_user, settings.data_dir),
        check_text=lambda field, text: check_words(lists.words, field, text),
    )


def _compose(settings: Settings, database: Database, shared: Shared) -> Container:
    clock, notifier = shared.clock, shared.notifier
    signer = Signer(signing_key(settings.data_dir))
    adapters = _adapters(settings, database, shared, signer)
    stores = _stores(settings, database, shared, adapters)
    cursors = CursorSigner(signer)
    return Container(
        settings=settings,
        database=database,
        **adapters._asdict(),
        jobs=SqliteJobQueue(database, clock, notifier),
        tombstones=SqliteTombstoneQueue(database),
        reviews=SqliteReviewQueue(database, clock),
        outbox=SqliteOutbox(database, clock),
        image_grants=ImageGrants(signer),
        counts=shared.counts,
        notifier=notifier,
        clock=clock,
        services=build_services(
            stores, settings.limits, cursors, RENDERERS, poll_seconds=_WAIT_POLL_SECONDS
        ),
    )
