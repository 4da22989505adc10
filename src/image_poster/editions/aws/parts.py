"""The AWS edition, composed: which class stands for which port."""

from collections.abc import Callable
from functools import cache
from typing import Any

import structlog
from botocore.config import Config
from botocore.session import Session, get_session

from image_poster.adapters.cloudfront.picture_cache import CloudFrontPictureCache
from image_poster.adapters.dynamodb.boto_table import BotoTable
from image_poster.adapters.dynamodb.comment_counter import DynamoCommentCounter
from image_poster.adapters.dynamodb.comment_store import DynamoCommentStore
from image_poster.adapters.dynamodb.failure_counter import DynamoFailureCounter
from image_poster.adapters.dynamodb.feed_reader import DynamoFeedReader
from image_poster.adapters.dynamodb.post_store import DynamoPostStore
from image_poster.adapters.dynamodb.projection import DynamoProjection
from image_poster.adapters.dynamodb.remains import DynamoRemains
from image_poster.adapters.dynamodb.upload_ledger import DynamoUploadLedger
from image_poster.adapters.dynamodb.upload_offsets import DynamoUploadOffsets
from image_poster.adapters.s3.image_work import S3ImageWork
from image_poster.adapters.s3.objects import Buckets
from image_poster.adapters.s3.picture_store import S3PictureStore
from image_poster.adapters.s3.put_urls import S3PutUrls
from image_poster.adapters.s3.upload_store import S3UploadStore
from image_poster.adapters.system.clock import SystemClock
from image_poster.editions.aws.settings import PIECE_BYTES, Settings
from image_poster.ports.image_renderer import ImageRenderer
from image_poster.usecases.all import Stores
from image_poster.usecases.delete_post import RemoveRemains
from image_poster.usecases.follow_changes import FollowChanges
from image_poster.usecases.publish_image import PublishImage
from image_poster.usecases.publish_stored_image import PublishStoredImage
from image_poster.usecases.rebuild import Rebuild

_TRIES = 4
_CONNECT_SECONDS, _READ_SECONDS = 2, 10


@cache
def _session() -> Session:
    return get_session()


@cache
def client(service: str) -> Any:  # noqa: ANN401 - botocore makes clients at run time
    """A client, made when it is first needed: that takes time on a cold start.

    `standard` retries back off with jitter (SDK reference guide, "Retry behavior"); checksums only
    where S3 demands them, as a presigned URL must not ask for one that its user cannot compute.
    `virtual` addresses lead to the bucket's own region; else botocore signs URLs for the global
    endpoint, which redirects (S3 user guide, "Request redirection"), and a signed PUT does not
    survive that.
    """
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES},
        signature_version="s3v4" if service == "s3" else None,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "virtual"},
    )
    return _session().create_client(service, config=config)


class _WhenNeeded:
    """A client that is made at its first call: most requests never ask that service."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - as botocore's
        return getattr(client(self._service), operation)


def request_id() -> str:
    """Of the request that is being answered."""
    found = structlog.contextvars.get_contextvars()
    return str(found.get("request_id", ""))


def table(settings: Settings) -> BotoTable:
    """The one table."""
    return BotoTable(client("dynamodb"), settings.table)


def follow_request(of_post: str) -> None:
    """From here on we work for the request that changed a post last."""
    structlog.contextvars.bind_contextvars(request_id=of_post)


def posts(settings: Settings, followed: Callable[[str], object] = bool) -> DynamoPostStore:
    """Posts."""
    return DynamoPostStore(
        table(settings),
        SystemClock(),
        shards=settings.feed_shards,
        request_id=request_id,
        followed=followed,
    )


def pictures(settings: Settings) -> S3PictureStore:
    """Pictures."""
    multipart = settings.limits.multipart_bytes or settings.image_bytes
    return S3PictureStore(
        _WhenNeeded("s3"), buckets(settings), cdn=settings.public_url, most_staged=multipart
    )


def buckets(settings: Settings) -> Buckets:
    """Their names."""
    return Buckets(settings.uploads_bucket, settings.images_bucket)


def stores(settings: Settings) -> Stores:
    """What the API stands on."""
    clock, rows = SystemClock(), table(settings)
    offsets = DynamoUploadOffsets(rows)
    uploads = settings.uploads_bucket
    return Stores(
        posts=posts(settings),
        comments=DynamoCommentStore(rows, clock, request_id=request_id),
        feed=DynamoFeedReader(rows, shards=settings.feed_shards),
        pictures=pictures(settings),
        uploads=S3UploadStore(_WhenNeeded("s3"), uploads, offsets, piece_bytes=PIECE_BYTES),
        ledger=DynamoUploadLedger(rows),
        put_urls=S3PutUrls(_WhenNeeded("s3"), uploads, clock),
        clock=clock,
    )


def publish_stored_image(settings: Settings, renderer: ImageRenderer) -> PublishStoredImage:
    """What the image Lambda does."""
    rows, files = posts(settings, follow_request), pictures(settings)
    publish = PublishImage(rows, files, renderer)
    return PublishStoredImage(rows, files, publish, DynamoFailureCounter(table(settings)))


def follow_changes(settings: Settings) -> FollowChanges:
    """What the stream Lambda does."""
    rows = table(settings)
    return FollowChanges(
        DynamoCommentCounter(rows, SystemClock(), kept=settings.latest_kept),
        S3ImageWork(_WhenNeeded("s3"), buckets(settings)),
        RemoveRemains(DynamoRemains(rows), pictures(settings)),
        CloudFrontPictureCache(_WhenNeeded("cloudfront"), settings.distribution),
    )


def rebuild(settings: Settings) -> Rebuild:
    """What operators may do."""
    rows = table(settings)
    counter = DynamoCommentCounter(rows, SystemClock(), kept=settings.latest_kept)
    return Rebuild(DynamoProjection(rows, counter, shards=settings.feed_shards))
