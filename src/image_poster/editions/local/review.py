"""The review hook of one machine: its calls, and URLs by which it reads images."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from image_poster.adapters.webhooks import HttpReviewHook
from image_poster.domain.images import RENDITION_SMALL
from image_poster.editions.local.container import Container
from image_poster.editions.local.keys import webhook_secret
from image_poster.services.review_hook import IMAGE_URL_MS, HookReviewer, ReviewHookRunner

# Calls that wait at a time. A hook that hangs ends each after five seconds.
PARALLEL_REVIEWS = 16
_POLL_SECONDS = 0.5
_log = structlog.get_logger()


@asynccontextmanager
async def open_review_hook(container: Container) -> AsyncIterator[ReviewHookRunner]:
    """The runner that asks the hook, whose threads end at exit."""
    settings, stores = container.settings, container.services.stores
    hook = HttpReviewHook(settings.review_url, webhook_secret(settings.data_dir))
    base = settings.public_url or f"http://{settings.host}:{settings.port}"

    def image_url(post_id: str) -> str:
        expires_ms = stores.clock.now_ms() + IMAGE_URL_MS
        return base + container.image_grants.path(post_id, RENDITION_SMALL, expires_ms)

    reviewer = HookReviewer(stores.posts, hook, stores.clock, image_url)
    try:
        yield ReviewHookRunner(container.reviews, reviewer, stores.images)
    finally:
        hook.close()


async def ask_next(runner: ReviewHookRunner) -> None:
    """Ask about the next image that is due, or wait a moment."""
    outcome = await runner.run_next()
    if outcome is None:
        await asyncio.sleep(_POLL_SECONDS)
    else:
        _log.info("the review hook was asked", outcome=outcome)
