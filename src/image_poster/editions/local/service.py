"""The local edition, composed: which class stands for which port, and the work in the
background."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from litestar.types import ASGIApp

from image_poster.adapters.clock import SystemClock
from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.files.uploads import FileUploadStore
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import SqliteFeedReader, SqliteFeedRebuilder
from image_poster.adapters.sqlite.jobs import SqliteJobQueue
from image_poster.adapters.sqlite.posts import SqlitePostStore, SqliteTombstoneQueue
from image_poster.adapters.sqlite.schema import SchemaTooNewError
from image_poster.adapters.sqlite.uploads import SqliteAwaitingUploads, SqliteUploadRecordStore
from image_poster.adapters.vips.pipeline import RenderSettings
from image_poster.adapters.vips.renderer import VipsImageRenderer
from image_poster.domain.errors import BusyError
from image_poster.domain.pages import CursorSigner
from image_poster.domain.signing import Signer
from image_poster.editions.background import do_image_work, finish_deletions, forever
from image_poster.editions.errors import StartError
from image_poster.editions.local.data_folder import database_path, signing_key
from image_poster.editions.local.settings import Settings, listed
from image_poster.http import metrics
from image_poster.http.app import HttpSettings, create_app
from image_poster.http.auth import DevAuthenticator
from image_poster.http.observing import log_access
from image_poster.http.put_urls import SignedPutUrls
from image_poster.http.routes.metrics import ROUTES as METRICS_ROUTES
from image_poster.usecases.all import Stores, use_cases
from image_poster.usecases.complete_upload import CompleteUpload
from image_poster.usecases.delete_post import DeletePost, RemoveRemains
from image_poster.usecases.end_upload import SettleUploads
from image_poster.usecases.publish_image import PublishImage
from image_poster.usecases.rebuild import Rebuild
from image_poster.usecases.sweep import Sweep
from image_poster.usecases.work_jobs import WorkJobs

_SWEEP_SECONDS = 3600.0
_LEASE_MARGIN_SECONDS = 30
_QUARANTINED = (
    "files of posts that the database does not know were moved to quarantine/ and will be deleted "
    "in 7 days: is it the right database? (docs/operations.md)"
)

_log = structlog.get_logger()


@dataclass(frozen=True)
class Adapters:
    """One process's adapters over one data folder."""

    database: Database
    clock: SystemClock
    stores: Stores
    pictures: FileImageStore
    jobs: SqliteJobQueue
    cleanup: SqliteTombstoneQueue
    signer: Signer
    rebuild: Rebuild
    settle_uploads: SettleUploads
    sweep: Sweep


@asynccontextmanager
async def open_adapters(settings: Settings) -> AsyncIterator[Adapters]:
    """The adapters of `settings.data_dir`, closed at exit."""
    database = _open_database(database_path(settings.data_dir))
    try:
        yield _compose(
            database,
            Layout(settings.data_dir, settings.disk_reserve),
            Signer(signing_key(settings.data_dir)),
        )
    finally:
        await database.close()


def _compose(database: Database, layout: Layout, signer: Signer) -> Adapters:
    clock = SystemClock()
    posts, pictures = SqlitePostStore(database, clock), FileImageStore(layout)
    uploads, ledger = FileUploadStore(layout), SqliteUploadRecordStore(database)
    cleanup = SqliteTombstoneQueue(database)
    stores = Stores(
        posts=posts,
        comments=SqliteCommentStore(database, clock),
        feed=SqliteFeedReader(database),
        pictures=pictures,
        uploads=uploads,
        ledger=ledger,
        put_urls=SignedPutUrls(signer),
        clock=clock,
    )
    return Adapters(
        database=database,
        clock=clock,
        stores=stores,
        pictures=pictures,
        jobs=SqliteJobQueue(database, clock),
        cleanup=cleanup,
        signer=signer,
        rebuild=Rebuild(SqliteFeedRebuilder(database)),
        settle_uploads=_settle_uploads(database, stores),
        sweep=Sweep(posts, pictures, cleanup, RemoveRemains(cleanup, pictures), clock),
    )


def _settle_uploads(database: Database, stores: Stores) -> SettleUploads:
    return SettleUploads(
        SqliteAwaitingUploads(database),
        stores.pictures,
        stores.uploads,
        CompleteUpload(stores.posts, stores.uploads),
        DeletePost(stores.posts, stores.pictures),
        stores.clock,
    )


def _open_database(path: Path) -> Database:
    try:
        return Database(path)
    except (SchemaTooNewError, sqlite3.DatabaseError) as exc:
        raise StartError(f"the database {path} cannot be used: {exc}.") from exc


async def recover(settings: Settings) -> None:
    """At the start, by whoever holds the folder exclusively: all former leases are void, and
    uploads whose last byte came just before a crash are completed."""
    async with open_adapters(settings) as adapters:
        await adapters.jobs.release_all()
        await adapters.settle_uploads.complete()


@asynccontextmanager
async def running(settings: Settings, *, started_ms: int, sweeps: bool) -> AsyncIterator[ASGIApp]:
    """The app, with its background work under way.

    `started_ms` is when the whole server started: files from before are nobody's any more. Of
    several processes one `sweeps`.
    """
    async with open_adapters(settings) as adapters:
        renderer = VipsImageRenderer(
            RenderSettings(fit=settings.image_fit, max_pixels=settings.image_pixels),
            children=settings.image_workers,
            timeout_seconds=settings.image_seconds,
        )
        work = _work(settings, adapters, renderer)
        tasks = [asyncio.create_task(do_image_work(work)) for _ in range(settings.image_workers)]
        if sweeps:
            tasks += _sweepers(adapters, started_ms)
        try:
            yield _app(settings, adapters)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await renderer.close()


def _app(settings: Settings, adapters: Adapters) -> ASGIApp:
    use = use_cases(adapters.stores, settings.limits, CursorSigner(adapters.signer))

    async def readiness() -> None:
        """Raises `BusyError` when the database does not take a write."""
        try:
            async with asyncio.timeout(2):
                await adapters.database.write(lambda connection: connection.total_changes)
        except TimeoutError as exc:
            raise BusyError from exc

    return create_app(
        use,
        readiness,
        HttpSettings(
            authenticator=DevAuthenticator(frozenset(listed(settings.admins))),
            put_urls=SignedPutUrls(adapters.signer),
            cors_origins=listed(settings.cors_origins),
            loopback_only=not settings.insecure_dev_auth,
            observers=(metrics.observe, *([log_access] if settings.access_log else [])),
            routes=METRICS_ROUTES,
        ),
    )


def _work(settings: Settings, adapters: Adapters, renderer: VipsImageRenderer) -> WorkJobs:
    publish = PublishImage(adapters.stores.posts, adapters.stores.pictures, renderer)
    lease_seconds = settings.image_seconds + _LEASE_MARGIN_SECONDS
    return WorkJobs(adapters.jobs, publish, lease_ms=lease_seconds * 1000)


def _sweepers(adapters: Adapters, started_ms: int) -> list[asyncio.Task[None]]:
    older_than_ms = started_ms

    async def sweep() -> None:
        nonlocal older_than_ms
        expired = await adapters.settle_uploads.expire()
        swept = await adapters.sweep(older_than_ms=older_than_ms)
        if expired or any(swept):
            _log.info("swept", expired=expired, **swept._asdict())
        if swept.quarantined:
            _log.warning(_QUARANTINED, files=swept.quarantined)
        await asyncio.sleep(_SWEEP_SECONDS)
        older_than_ms = adapters.clock.now_ms() - int(_SWEEP_SECONDS * 1000)

    return [
        asyncio.create_task(finish_deletions(adapters.sweep)),
        asyncio.create_task(forever("sweeping", sweep)),
    ]
