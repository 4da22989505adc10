"""The composition of the AWS edition: the class for each port, in each Lambda and command."""

from collections.abc import Callable
from functools import cache
from typing import Any

import structlog
from botocore.config import Config
from botocore.session import Session, get_session

from image_poster.adapters.clock import SystemClock
from image_poster.adapters.cloudfront import CloudFrontImageCache
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.feed import DynamoFeedReader, DynamoFeedRebuilder
from image_poster.adapters.dynamodb.jobs import DynamoFailureCounter
from image_poster.adapters.dynamodb.posts import DynamoPostStore, DynamoTombstoneStore
from image_poster.adapters.dynamodb.reconciliation import (
    DynamoReconciliationCursorStore,
    DynamoScheduledChecks,
)
from image_poster.adapters.dynamodb.uploads import DynamoUploadOffsets, DynamoUploadRecordStore
from image_poster.adapters.dynamodb.usage import DynamoUsageStore
from image_poster.adapters.s3.images import S3ImageStore, S3JobStarter
from image_poster.adapters.s3.schema import Buckets
from image_poster.adapters.s3.uploads import S3PutUrlSigner, S3UploadStore
from image_poster.editions.aws import tracing
from image_poster.editions.aws.settings import PIECE_BYTES, AwsSettings, read_settings
from image_poster.ports.images import ImageRenderer
from image_poster.services.images import ImagePublisher, JobReplayer, StoredImagePublisher
from image_poster.services.maintenance import ChangeApplier, PostPurger, ShownImages
from image_poster.services.quotas import EventualQuotas, UsageRecorder
from image_poster.services.reconciliation import FullReconciliation, Reconciler, Reconciliation
from image_poster.services.registry import Stores


@cache
def _session() -> Session:
    return get_session()


@cache
def client(service: str) -> Any:  # noqa: ANN401 - botocore makes clients at run time
    """An AWS client, created at its first use: its creation would lengthen a cold start.

    `standard` retries back off with jitter (SDK reference guide, "Retry behavior"). Checksums are
    sent only if S3 requires them: the user of a presigned URL cannot compute one. `virtual`
    addresses lead to the bucket's own region. Otherwise botocore signs URLs for the global
    endpoint, whose redirect a signed PUT does not survive (S3 user guide, "Request redirection").
    The time-outs are settings, because a caller waits for the response.
    """
    patience = read_settings()
    config = Config(
        connect_timeout=patience.sdk_connect_seconds,
        read_timeout=patience.sdk_read_seconds,
        retries={"mode": "standard", "total_max_attempts": patience.sdk_tries},
        signature_version="s3v4" if service == "s3" else None,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "virtual"},
    )
    made = _session().create_client(service, config=config)
    tracing.follow(made)
    return made


def secret(arn: str) -> str:
    """The text of a secret; empty without an ARN."""
    if not arn:
        return ""
    return str(client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])


class _WhenNeeded:
    """A client that is created at its first call: most requests never call that service."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - as botocore's
        return getattr(client(self._service), operation)


def request_id() -> str:
    """The id of the current request; empty if there is none."""
    found = structlog.contextvars.get_contextvars()
    return str(found.get("request_id", ""))


def table(settings: AwsSettings) -> BotoTable:
    """The edition's only table."""
    return BotoTable(client("dynamodb"), settings.table)


def bind_request(of_post: str) -> None:
    """Log from here on with the id of the request that last changed a post."""
    structlog.contextvars.bind_contextvars(request_id=of_post)


def posts(
    settings: AwsSettings,
    applied: Callable[[str], object] = bool,
    removed: Callable[[str], object] = bool,
    quotas: EventualQuotas | None = None,
) -> DynamoPostStore:
    """The post store. `applied` gets the id of the request that last changed a post, `removed` gets
    deletions, and `quotas` are enforced on new posts."""
    return DynamoPostStore(
        table(settings),
        SystemClock(),
        shards=settings.feed_shards,
        request_id=request_id,
        applied=applied,
        removed=removed,
        quotas=quotas,
    )


def images(settings: AwsSettings) -> S3ImageStore:
    """Originals and renditions."""
    multipart = settings.limits.multipart_bytes or settings.image_bytes
    return S3ImageStore(
        _WhenNeeded("s3"), buckets(settings), cdn=settings.public_url, max_staged=multipart
    )


def buckets(settings: AwsSettings) -> Buckets:
    """The names of the buckets."""
    return Buckets(settings.uploads_bucket, settings.images_bucket)


def stores(settings: AwsSettings) -> Stores:
    """The stores and quotas of the API."""
    clock, rows = SystemClock(), table(settings)
    uploads = settings.uploads_bucket
    comments = DynamoCommentStore(rows, clock, request_id=request_id)
    user_limits = EventualQuotas(DynamoUsageStore(rows, clock), clock, settings.limits)
    return Stores(
        posts=posts(settings, removed=comments.forget, quotas=user_limits),
        comments=comments,
        feed=DynamoFeedReader(rows, shards=settings.feed_shards),
        images=images(settings),
        uploads=S3UploadStore(
            _WhenNeeded("s3"), uploads, DynamoUploadOffsets(rows), piece_bytes=PIECE_BYTES
        ),
        upload_records=DynamoUploadRecordStore(rows),
        put_urls=S3PutUrlSigner(_WhenNeeded("s3"), uploads, clock),
        clock=clock,
        writes=user_limits,
        upload_quota=user_limits,
    )


def image_publisher(settings: AwsSettings, renderer: ImageRenderer) -> StoredImagePublisher:
    """The image Lambda's service."""
    rows, files = posts(settings, bind_request), images(settings)
    publisher = ImagePublisher(rows, files, renderer)
    return StoredImagePublisher(rows, files, publisher, DynamoFailureCounter(table(settings)))


def change_applier(settings: AwsSettings) -> ChangeApplier:
    """The stream Lambda's service for changes of posts."""
    rows = table(settings)
    return ChangeApplier(
        DynamoCommentCounter(rows, SystemClock(), kept=settings.latest_kept),
        S3JobStarter(_WhenNeeded("s3"), buckets(settings)),
        purger(settings),
        DynamoScheduledChecks(rows, SystemClock()),
    )


def usage_recorder(settings: AwsSettings) -> UsageRecorder:
    """The stream Lambda's service for users' usage."""
    rows, clock = table(settings), SystemClock()
    taken, records = DynamoUsageStore(rows, clock), DynamoUploadRecordStore(rows)
    return UsageRecorder(taken, records, posts(settings), clock, settings.limits)


def purger(settings: AwsSettings) -> PostPurger:
    """The service that purges deleted posts, also from the CDN."""
    tombstones = DynamoTombstoneStore(table(settings))
    cache = CloudFrontImageCache(_WhenNeeded("cloudfront"), settings.distribution)
    return PostPurger(tombstones, images(settings), ShownImages(tombstones, cache))


def healing(settings: AwsSettings, *, ahead_ms: int = 0) -> Reconciliation:
    """The reconciliation Lambda's service; operators run it `ahead_ms` before work is due."""
    rows, clock, uploads = table(settings), SystemClock(), settings.uploads_bucket
    pieces = S3UploadStore(
        _WhenNeeded("s3"), uploads, DynamoUploadOffsets(rows), piece_bytes=PIECE_BYTES
    )
    reconciler = Reconciler(
        due=DynamoScheduledChecks(rows, clock, ahead_ms=ahead_ms),
        posts=posts(settings),
        images=images(settings),
        records=DynamoUploadRecordStore(rows),
        uploads=pieces,
        failures=DynamoFailureCounter(rows),
        starter=S3JobStarter(_WhenNeeded("s3"), buckets(settings)),
        purger=purger(settings),
        clock=clock,
    )
    walk = FullReconciliation(feed_rebuilder(settings), posts(settings), images(settings))
    return Reconciliation(reconciler, walk, DynamoReconciliationCursorStore(rows), clock)


def job_replayer(settings: AwsSettings) -> JobReplayer:
    """The service that replays failed image work for operators."""
    return JobReplayer(
        posts(settings),
        DynamoFailureCounter(table(settings)),
        S3JobStarter(_WhenNeeded("s3"), buckets(settings)),
    )


def feed_rebuilder(settings: AwsSettings) -> DynamoFeedRebuilder:
    """The service that recomputes counts and feed entries."""
    rows = table(settings)
    counter = DynamoCommentCounter(rows, SystemClock(), kept=settings.latest_kept)
    return DynamoFeedRebuilder(rows, counter, shards=settings.feed_shards)
