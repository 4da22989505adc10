"""Serve the contract from this process's memory: `python -m image_poster.editions.memory.serve`."""

import argparse
import asyncio
import secrets

import uvloop

from image_poster.adapters.clock import SystemClock
from image_poster.adapters.memory import (
    MemoryCommentStore,
    MemoryFeedReader,
    MemoryImageStore,
    MemoryJobQueue,
    MemoryPostStore,
    MemoryState,
    MemoryTombstoneQueue,
    MemoryUploadRecordStore,
    MemoryUploadStore,
)
from image_poster.adapters.vips.pipeline import RenderSettings
from image_poster.adapters.vips.renderer import VipsImageRenderer
from image_poster.domain.limits import Limits
from image_poster.domain.pages import CursorSigner
from image_poster.domain.signing import Signer
from image_poster.editions.background import do_image_work, finish_deletions
from image_poster.editions.logs import configure
from image_poster.editions.server import announce, reserved_port, serve_until_stopped
from image_poster.http import metrics
from image_poster.http.app import HttpSettings, create_app
from image_poster.http.auth import DevAuthenticator
from image_poster.http.put_urls import SignedPutUrls
from image_poster.http.routes.metrics import ROUTES as METRICS_ROUTES
from image_poster.usecases.all import Stores, use_cases
from image_poster.usecases.delete_post import RemoveRemains
from image_poster.usecases.publish_image import PublishImage
from image_poster.usecases.sweep import Sweep
from image_poster.usecases.work_jobs import WorkJobs

_HOST = "127.0.0.1"
_LEASE_MS = 90_000


async def _ready() -> None:
    """Memory always is."""


async def serve(port: int, limits: Limits, admins: frozenset[str]) -> None:
    """Serve until told to stop; then everything is gone."""
    clock, state = SystemClock(), MemoryState()
    signer = Signer(secrets.token_bytes(32))
    put_urls = SignedPutUrls(signer)
    pictures = MemoryImageStore(clock)
    stores = _stores(state, clock, pictures, put_urls)
    renderer = VipsImageRenderer(RenderSettings(max_pixels=limits.image_pixels))
    publish = PublishImage(stores.posts, stores.pictures, renderer)
    work = WorkJobs(MemoryJobQueue(state, clock), publish, lease_ms=_LEASE_MS)
    use = use_cases(stores, limits, CursorSigner(signer))
    settings = HttpSettings(
        DevAuthenticator(admins), put_urls, observers=(metrics.observe,), routes=METRICS_ROUTES
    )
    app = create_app(use, _ready, settings)
    background = [
        asyncio.create_task(do_image_work(work)),
        asyncio.create_task(
            finish_deletions(_sweep(stores, pictures, MemoryTombstoneQueue(state)))
        ),
    ]
    try:
        await serve_until_stopped(app, _HOST, port, lambda: announce(_HOST, port))
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await renderer.close()


def _stores(
    state: MemoryState, clock: SystemClock, pictures: MemoryImageStore, put_urls: SignedPutUrls
) -> Stores:
    return Stores(
        posts=MemoryPostStore(state, clock),
        comments=MemoryCommentStore(state, clock),
        feed=MemoryFeedReader(state),
        pictures=pictures,
        uploads=MemoryUploadStore(pictures),
        ledger=MemoryUploadRecordStore(state),
        put_urls=put_urls,
        clock=clock,
    )


def _sweep(stores: Stores, pictures: MemoryImageStore, cleanup: MemoryTombstoneQueue) -> Sweep:
    remains = RemoveRemains(cleanup, pictures)
    return Sweep(stores.posts, pictures, cleanup, remains, stores.clock)


def main() -> None:
    """`--port`, `--admins`, and limits by the local edition's names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--admins", default="")
    defaults = Limits()
    for name in Limits.__struct_fields__:
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=getattr(defaults, name))
    given = vars(parser.parse_args())
    configure("auto")
    admins = frozenset(filter(None, given.pop("admins").split(",")))
    with reserved_port(_HOST, given.pop("port")) as port:
        uvloop.run(serve(port, Limits(**given), admins))


if __name__ == "__main__":
    main()
