"""Background work beside the requests, and the recovery at the start."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import structlog

from image_poster.adapters.clock import ServiceClock
from image_poster.adapters.images.renderer import VipsImageRenderer
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.maintenance import greatest_time, greatest_time_of_comments
from image_poster.adapters.webhooks import HttpReviewHook
from image_poster.domain.images import RENDITION_SMALL
from image_poster.editions.local.container import Container, Shared, open_container
from image_poster.editions.local.keys import webhook_secrets
from image_poster.editions.local.maintenance import PostRetries, Sweeper, repeat_step
from image_poster.editions.local.moderation import AccountDeletionRunner, BlockLists
from image_poster.editions.local.server import StoppableApp
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.webhooks import deliver_events
from image_poster.editions.logs import open_tracer
from image_poster.http import metrics
from image_poster.ports.posts import PostNotifier
from image_poster.ports.uploads import AwaitedUploads
from image_poster.services.images import JobRunner, error_text
from image_poster.services.review import IMAGE_URL_MS, HookReviewer, ReviewHookRunner

# For retries, and for notifications that were missed.
_JOB_POLL_SECONDS = 1.0
_DELETION_POLL_SECONDS = 1.0
_SWEEP_SECONDS = 3600.0
_CLOCK_POLL_SECONDS = 1.0
_LISTS_POLL_SECONDS = 10.0
# Calls of the review hook at a time. A hook that hangs ends each after five seconds.
_PARALLEL_REVIEWS = 16
_REVIEW_POLL_SECONDS = 0.5
# Less than this is the clock's drift, or a slow start of this process.
CLOCK_STEP_MS = 2_000
_QUARANTINED = (
    "files whose posts are not in the database were moved to quarantine/ and will be deleted in 7 "
    "days. Check that it is the right database (docs/operations.md)"
)

_log = structlog.get_logger()


async def recover(settings: Settings) -> ServiceClock:
    """Recover after the previous server; the caller holds the server's lock. Releases all leases,
    and puts back the files in quarantine whose posts exist. Checks no single upload or image,
    because requests would wait for it. Returns the server's clock, which is ahead of all stored
    times."""
    async with open_container(settings) as container:
        database = container.database
        container.clock.raise_to(
            max(greatest_time(database), greatest_time_of_comments(database)) + 1
        )
        await container.outbox.configure(settings.webhook)
        await container.jobs.release_all()
        await container.upload_quota.release_former()
        sweeper = container.sweeper
        put_back = await sweeper.put_back()
    _report(sweeper.retries)
    if put_back:
        _log.warning(
            "files were put back from quarantine, because their posts are in the database",
            files=put_back,
        )
    return container.clock


@asynccontextmanager
async def run_app(
    settings: Settings, *, started_ms: int, sweeps: bool, shared: Shared | None = None
) -> AsyncIterator[StoppableApp]:
    """The app, with its background tasks running.

    `started_ms` is the start of the whole server, in milliseconds since 1970; files from before
    belong to no request. Of several processes one `sweeps`. `shared` has the objects that all
    processes share.
    """
    async with AsyncExitStack() as stack:
        container = await stack.enter_async_context(open_container(settings, shared))
        tracer = open_tracer(settings.otlp_endpoint, settings.trace_ratio)
        if tracer is not None:
            stack.callback(tracer.close)
            container.database.tracer = tracer
            container = replace(container, tracer=tracer)
        renderer = container.renderer()
        work = _background_work(container, renderer, started_ms, sweeps=sweeps)
        tasks = [asyncio.create_task(each) for each in work]
        try:
            app = container.app()
            if tracer is None:
                yield app
            else:
                yield tracer.traced(app, app.end_unfinished)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await renderer.close()


def _background_work(
    container: Container, renderer: VipsImageRenderer, started_ms: int, *, sweeps: bool
) -> list[Coroutine[None, None, None]]:
    """All work of one process beside its requests."""
    runner = container.job_runner(renderer)
    work = [
        do_image_work(runner, renderer, container.notifier)
        for _ in range(container.settings.image_workers)
    ]
    records = container.upload_records if sweeps else None
    work.append(keep_time(TimeKeeper(container.clock, container.database, records)))
    work.append(refresh_lists(container.lists))
    if container.settings.review == "hook":
        step = partial(ask_next, review_hook_runner(container))
        work += [repeat_step("the review hook", step) for _ in range(_PARALLEL_REVIEWS)]
    if sweeps:
        work += [
            purge_deleted(container.sweeper),
            complete_deletions(container.account_deletions),
            *deliver_events(container),
            sweep(container, started_ms),
        ]
    return work


async def do_image_work(
    runner: JobRunner, renderer: VipsImageRenderer, notifier: PostNotifier
) -> None:
    """Run due image jobs, one after the other; a notification starts the next one at once."""

    async def step() -> None:
        done = await runner.run_next()
        if done is None:
            await notifier.wait(None, _JOB_POLL_SECONDS)
            return
        metrics.images.labels(done.outcome).inc()
        if renderer.confinement is not None:
            for measure, value in renderer.confinement.measures.items():
                metrics.sandbox.labels(measure).set(value)
        if done.error is not None:
            _log.error(
                "image work stopped with an error",
                post=done.post_id,
                outcome=done.outcome,
                error=done.error,
            )

    await repeat_step("image work", step)


def _report(retries: PostRetries, subject: str = "post") -> None:
    """Log and count the failures since the last report. `subject` names the failed ids."""
    for failure in retries.drain_failures():
        metrics.failures.labels(failure.work).inc()
        error, ids = error_text(failure.error), {subject: failure.post_id}
        _log.error("work failed", work=failure.work, error=error, **ids)


async def purge_deleted(sweeper: Sweeper) -> None:
    """Purge deleted posts, soon after their deletion."""

    async def step() -> None:
        await sweeper.purge_deleted()
        _report(sweeper.retries)
        await asyncio.sleep(_DELETION_POLL_SECONDS)

    await repeat_step("purging deleted posts", step)


async def complete_deletions(deletions: AccountDeletionRunner) -> None:
    """Complete the deletions of accounts that a request, or a former server, has begun."""

    async def step() -> None:
        completed = await deletions.complete()
        _report(deletions.retries, subject="account")
        _report(deletions.sweeper.retries)
        if completed:  # without names, which are gone
            _log.info("accounts were deleted", accounts=completed)
        await asyncio.sleep(_DELETION_POLL_SECONDS)

    await repeat_step("deleting accounts", step)


def review_hook_runner(container: Container) -> ReviewHookRunner:
    """The runner that asks the review hook."""
    settings, stores = container.settings, container.services.stores
    hook = HttpReviewHook(settings.review_url, partial(webhook_secrets, settings.data_dir))
    base = settings.public_url or f"http://{settings.host}:{settings.port}"

    def image_url(post_id: str) -> str:
        expires_ms = stores.clock.now_ms() + IMAGE_URL_MS
        return base + container.image_grants.path(post_id, RENDITION_SMALL, expires_ms)

    reviewer = HookReviewer(stores.posts, hook, stores.clock, image_url)
    return ReviewHookRunner(container.reviews, reviewer, stores.images)


async def ask_next(runner: ReviewHookRunner) -> None:
    """Ask about the next image that is due, or wait a moment."""
    outcome = await runner.run_next()
    if outcome is None:
        await asyncio.sleep(_REVIEW_POLL_SECONDS)
    else:
        _log.info("the review hook was asked", outcome=outcome)


class TimeKeeper:
    """Follows times that other processes stored, and moves the expiries of uploads after the wall
    clock was set. Of several processes, only one has `records` and moves them."""

    def __init__(
        self, clock: ServiceClock, database: Database, records: AwaitedUploads | None
    ) -> None:
        self._clock = clock
        self._database = database
        self._records = records
        self._offset_ms = clock.offset_ms()

    async def check(self) -> None:
        """Check the clocks once."""
        set_by_ms = self._clock.offset_ms() - self._offset_ms
        if self._records is not None and abs(set_by_ms) > CLOCK_STEP_MS:
            _log.warning("the wall clock was changed", seconds=round(set_by_ms / 1000))
            before_ms = self._clock.now_ms() - set_by_ms
            await self._records.move_expiries(set_by_ms, before_ms=before_ms)
        self._clock.raise_to(greatest_time(self._database))
        self._offset_ms = self._clock.offset_ms()


async def keep_time(keeper: TimeKeeper) -> None:
    """Check the clocks each second."""

    async def step() -> None:
        await asyncio.sleep(_CLOCK_POLL_SECONDS)
        await keeper.check()

    await repeat_step("keeping time", step)


async def refresh_lists(lists: BlockLists) -> None:
    """Read the lists of blocked words and images again after a change."""

    async def step() -> None:
        await asyncio.sleep(_LISTS_POLL_SECONDS)
        await asyncio.to_thread(lists.refresh)

    await repeat_step("reading lists", step)


class FileAgeLimit:
    """The time before which a file belongs to no running request. Files carry the wall clock's
    times. If that clock was set since, those times are unreliable, and no file is old enough."""

    def __init__(self, clock: ServiceClock, time_ms: int) -> None:
        self._clock = clock
        self._time_ms = time_ms
        self._offset_ms = clock.offset_ms()

    def read_ms(self) -> int:
        """The time limit in milliseconds since 1970; 0 after the wall clock was set."""
        was_set = abs(self._clock.offset_ms() - self._offset_ms) > CLOCK_STEP_MS
        return 0 if was_set or self._clock.now_ms() < self._time_ms else self._time_ms


async def sweep(container: Container, started_ms: int) -> None:
    """Complete and expire uploads, expire failed posts, put renditions in their places and remove
    orphaned files, now and every hour."""
    limit = FileAgeLimit(container.clock, started_ms)
    settler, sweeper, rounds = container.upload_settler, container.sweeper, PostRetries()
    reconciler, expiry = container.rendition_reconciler, container.failed_post_expiry

    async def step() -> None:
        nonlocal limit
        older_than_ms = limit.read_ms()
        counts = {
            "renditions": await reconciler.reconcile(older_than_ms=older_than_ms),
            "completed": await rounds.run("completing uploads", "", settler.complete),
            "expired": await rounds.run("expiring uploads", "", settler.expire),
            "failed_posts": await rounds.run("expiring failed posts", "", expiry.expire),
        }
        swept = await sweeper.sweep(older_than_ms=older_than_ms)
        services = (reconciler, settler, expiry, sweeper)
        for retries in (rounds, *(service.retries for service in services)):
            _report(retries)
        if any(counts.values()) or any(swept):
            _log.info("swept", **counts, **swept._asdict())
        if swept.quarantined:
            _log.warning(_QUARANTINED, files=swept.quarantined)
        limit = FileAgeLimit(container.clock, container.clock.now_ms())
        await asyncio.sleep(_SWEEP_SECONDS)

    await repeat_step("sweeping", step)
