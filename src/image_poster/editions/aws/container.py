"""The composition of the AWS edition: the class for each port, in each Lambda and command."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import structlog
from botocore.config import Config
from botocore.session import Session, get_session

from image_poster.adapters.clock import SystemClock
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.feed import DynamoFeedReader, DynamoFeedRebuilder
from image_poster.adapters.dynamodb.jobs import (
    DynamoFailureCounter,
    DynamoReconciliationCursorStore,
    DynamoScheduledChecks,
)
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.uploads import (
    DynamoUploadRecordStore,
    DynamoUsageStore,
)
from image_poster.adapters.s3.images import CloudFrontImageCache, S3ImageStore
from image_poster.adapters.s3.schema import Buckets
from image_poster.adapters.s3.uploads import S3PutUrlSigner, S3UploadStore
from image_poster.editions.aws import tracing
from image_poster.editions.aws.events import ChangeApplier, PublishedCopies, StoredImagePublisher
from image_poster.editions.aws.quotas import EventualQuotas, UsageRecorder
from image_poster.editions.aws.reconciliation import Reconciler, Reconciliation
from image_poster.editions.aws.settings import PIECE_BYTES, AwsSettings, read_settings
from image_poster.ports.images import ImageRenderer
from image_poster.services.images import ImagePublisher
from image_poster.services.posts import PostPurger
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
    settings = read_settings()
    config = Config(
        connect_timeout=settings.sdk_connect_seconds,
        read_timeout=settings.sdk_read_seconds,
        retries={"mode": "standard", "total_max_attempts": settings.sdk_tries},
        signature_version="s3v4" if service == "s3" else None,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "virtual"},
    )
    new_client = _session().create_client(service, config=config)
    tracing.follow(new_client)
    return new_client


class LazyClient:
    """A client that is created at its first call: most requests never call that service."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __getattr__(self, operation: str) -> Any:  # noqa: ANN401 - as botocore's
        return getattr(client(self._service), operation)


def secret(arn: str) -> str:
    """The text of a secret; empty without an ARN."""
    if not arn:
        return ""
    return str(client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])


def _request_id() -> str:
    """The id of the current request; empty if there is none."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def _bind_request(request_id: str) -> None:
    """Log from here on with the id of the request that last changed a post."""
    structlog.contextvars.bind_contextvars(request_id=request_id)


class AwsContainer:
    """The stores and services of one Lambda or command, each created at its first use."""

    def __init__(self, settings: AwsSettings) -> None:
        self.settings = settings
        self.clock = SystemClock()

    @cached_property
    def table(self) -> BotoTable:
        return BotoTable(client("dynamodb"), self.settings.table)

    def posts(
        self,
        applied: Callable[[str], object] = bool,
        removed: Callable[[str], object] = bool,
        quotas: EventualQuotas | None = None,
    ) -> DynamoPostStore:
        """The post store. `applied` gets the id of the request that last changed a post, `removed`
        gets deletions, and `quotas` are enforced on new posts."""
        return DynamoPostStore(
            self.table,
            self.clock,
            shards=self.settings.feed_shards,
            request_id=_request_id,
            applied=applied,
            removed=removed,
            quotas=quotas,
        )

    @cached_property
    def images(self) -> S3ImageStore:
        settings = self.settings
        return S3ImageStore(
            LazyClient("s3"),
            Buckets(settings.uploads_bucket, settings.images_bucket),
            cdn=settings.public_url,
            max_staged=settings.limits.multipart_bytes or settings.image_bytes,
        )

    @cached_property
    def uploads(self) -> S3UploadStore:
        bucket = self.settings.uploads_bucket
        return S3UploadStore(LazyClient("s3"), bucket, self.upload_records, piece_bytes=PIECE_BYTES)

    @cached_property
    def upload_records(self) -> DynamoUploadRecordStore:
        return DynamoUploadRecordStore(self.table)

    @cached_property
    def failures(self) -> DynamoFailureCounter:
        return DynamoFailureCounter(self.table)

    @property
    def stores(self) -> Stores:
        """The stores and quotas of the API."""
        table, clock = self.table, self.clock
        comments = DynamoCommentStore(table, clock, request_id=_request_id)
        quotas = EventualQuotas(DynamoUsageStore(table, clock), clock, self.settings.limits)
        return Stores(
            posts=self.posts(removed=comments.forget, quotas=quotas),
            comments=comments,
            feed=DynamoFeedReader(table, shards=self.settings.feed_shards),
            images=self.images,
            uploads=self.uploads,
            upload_records=self.upload_records,
            put_urls=S3PutUrlSigner(LazyClient("s3"), self.settings.uploads_bucket, clock),
            clock=clock,
            writes=quotas,
            upload_quota=quotas,
        )

    def image_publisher(self, renderer: ImageRenderer) -> StoredImagePublisher:
        posts, images = self.posts(_bind_request), self.images
        publisher = ImagePublisher(posts, images, renderer)
        return StoredImagePublisher(posts, images, publisher, self.failures)

    @property
    def change_applier(self) -> ChangeApplier:
        checks = DynamoScheduledChecks(self.table, self.clock)
        return ChangeApplier(self._counter, self.images.start_work, self._purger, checks)

    @property
    def usage_recorder(self) -> UsageRecorder:
        usage, records = DynamoUsageStore(self.table, self.clock), self.upload_records
        return UsageRecorder(usage, records, self.posts(), self.clock, self.settings.limits)

    def reconciliation(self, *, ahead_ms: int = 0) -> Reconciliation:
        """The reconciliation Lambda's service; operators run it `ahead_ms` before work is due."""
        table, clock, posts = self.table, self.clock, self.posts()
        reconciler = Reconciler(
            checks=DynamoScheduledChecks(table, clock, ahead_ms=ahead_ms),
            posts=posts,
            images=self.images,
            records=self.upload_records,
            uploads=self.uploads,
            failures=self.failures,
            purger=self._purger,
            clock=clock,
        )
        rebuilder = DynamoFeedRebuilder(table, self._counter, shards=self.settings.feed_shards)
        cursors = DynamoReconciliationCursorStore(table)
        return Reconciliation(reconciler, rebuilder, posts, self.images, cursors, clock)

    @property
    def _counter(self) -> DynamoCommentCounter:
        latest_kept = self.settings.latest_kept
        return DynamoCommentCounter(self.table, self.clock, latest_kept=latest_kept)

    @property
    def _purger(self) -> PostPurger:
        """The service that purges deleted posts, also from the CDN."""
        cache = CloudFrontImageCache(LazyClient("cloudfront"), self.settings.distribution)
        posts = self.posts()
        return PostPurger(posts, self.images, PublishedCopies(posts, cache.forget).forget)
