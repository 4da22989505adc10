"""Services over fakes, or over whichever adapters a test puts in their place."""

from dataclasses import replace
from typing import Any

from fakes.accounts import MemoryAccountStore, MemoryBlockStore
from fakes.clock import ManualClock
from fakes.comments import MemoryCommentStore
from fakes.feed import MemoryFeedReader
from fakes.images import MemoryImageStore
from fakes.moderation import MemoryDecisionStore, MemoryReportStore
from fakes.posts import MemoryPostStore
from fakes.state import MemoryState
from fakes.uploads import MemoryUploadRecordStore, MemoryUploadStore
from image_poster.domain.limits import Limits
from image_poster.domain.signing import CursorSigner, Signer
from image_poster.http.app import RENDERERS
from image_poster.http.uploads import HmacPutUrlSigner
from image_poster.ports import Clock
from image_poster.services import Services, Stores, build_services

_SIGNER = Signer(b"")


def services(
    state: MemoryState | None = None,
    clock: Clock | None = None,
    *,
    limits: Limits | None = None,
    poll_seconds: float = 0.05,
    **instead: Any,
) -> Services:
    """All services; `instead` are stores by their names in `Stores`."""
    state, clock = state or MemoryState(), clock or ManualClock()
    images = MemoryImageStore(clock)
    stores = Stores(
        posts=MemoryPostStore(state, clock),
        comments=MemoryCommentStore(state, clock),
        feed=MemoryFeedReader(state),
        images=images,
        uploads=MemoryUploadStore(images),
        upload_records=MemoryUploadRecordStore(state),
        put_urls=HmacPutUrlSigner(_SIGNER),
        reports=MemoryReportStore(state, clock),
        decisions=MemoryDecisionStore(state, clock),
        accounts=MemoryAccountStore(state, clock),
        blocks=MemoryBlockStore(state, clock),
        clock=clock,
    )
    stores = replace(stores, **instead)
    return build_services(
        stores, limits or Limits(), CursorSigner(_SIGNER), RENDERERS, poll_seconds=poll_seconds
    )
