"""The composition of the AWS edition, in each Lambda and command: the settings that
`infra/template.yaml` puts into its environment, and the class for each port."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any, get_type_hints

import structlog
from botocore.config import Config
from botocore.session import Session, get_session

from image_poster.adapters.clock import SystemClock
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore
from image_poster.adapters.dynamodb.blocks import DynamoBlockStore
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.checks import (
    DynamoFailureCounter,
    DynamoReconciliationCursorStore,
    DynamoScheduledChecks,
)
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.feed import DynamoFeedReader, DynamoFeedRebuilder
from image_poster.adapters.dynamodb.moderation import DynamoDecisionStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.reports import DynamoReportStore
from image_poster.adapters.dynamodb.uploads import (
    DynamoUploadRecordStore,
    DynamoUsageStore,
)
from image_poster.adapters.s3.images import CloudFrontImageCache, S3ImageStore
from image_poster.adapters.s3.schema import Buckets
from image_poster.adapters.s3.uploads import S3PutUrlSigner, S3UploadStore
from image_poster.domain.limits import FAILED_KEPT_DAYS, LATEST_KEPT, PUBLIC_RATES, Limits, Rates
from image_poster.editions import StartError, parse_admin_claim, parse_origins
from image_poster.editions.aws import tracing
from image_poster.editions.aws.deletions import AccountDeletions
from image_poster.editions.aws.events import (
    ChangeApplier,
    EventualQuotas,
    PublishedCopies,
    StoredImagePublisher,
    UsageRecorder,
)
from image_poster.editions.aws.reconciliation import Reconciler, Reconciliation
from image_poster.ports.images import ImageRenderer
from image_poster.services import Stores
from image_poster.services.accounts import AccountEraser
from image_poster.services.images import ImagePublisher
from image_poster.services.posts import NULL_NOTIFIER, PostPurger, PostService

_DEFAULTS = Limits()
_PREFIX = "IMAGE_POSTER_"
# API Gateway hands a body over as Base64, and a Lambda takes 6 MB (Lambda quotas).
MULTIPART_BYTES = 4_000_000
PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class AwsSettings:
    """Each is an environment variable `IMAGE_POSTER_…` of the same name. A Lambda has those that it
    needs; the rest stays empty. Of `signing_key_secret` and `origin_secret` the ARNs are told, of
    secrets in Secrets Manager."""

    stack: str = ""
    table: str = ""
    uploads_bucket: str = ""
    images_bucket: str = ""
    public_url: str = ""
    distribution: str = ""
    signing_key: str = ""
    signing_key_secret: str = ""
    origin_secret: str = ""
    sdk_connect_seconds: int = 2
    sdk_read_seconds: int = 20
    sdk_tries: int = 4
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_name_claim: str = "preferred_username"
    jwt_admin_claim: str = ""
    jwt_client_id: str = ""
    jwt_scope: str = "openid profile"
    admins: str = ""
    cors_origins: str = "*"
    feed_shards: int = 1
    latest_kept: int = LATEST_KEPT
    image_bytes: int = _DEFAULTS.image_bytes
    image_pixels: int = _DEFAULTS.image_pixels
    image_seconds: int = 120
    writes_per_minute: int = PUBLIC_RATES.writes_per_minute or 0
    bytes_per_day: int = PUBLIC_RATES.bytes_per_day or 0
    uploads_under_way: int = PUBLIC_RATES.uploads_under_way or 0
    review: str = "off"
    rules_url: str = ""
    contact: str = ""
    blocked_words: str = ""
    blocked_images: str = ""
    failed_days: int = FAILED_KEPT_DAYS

    @property
    def limits(self) -> Limits:
        """The part that clients are told about."""
        return Limits(
            image_bytes=self.image_bytes,
            image_pixels=self.image_pixels,
            latest_kept=self.latest_kept,
            multipart_bytes=min(MULTIPART_BYTES, self.image_bytes),
            piece_bytes=min(PIECE_BYTES, self.image_bytes),
            rates=self.rates,
            rates_exact=self.rates == Rates(),
            rules_url=self.rules_url or None,
            contact=self.contact or None,
        )

    @property
    def rates(self) -> Rates:
        """Of one user; 0 is any. Of one address the WAF's rule is (`infra/waf.yaml`)."""
        return Rates(
            writes_per_minute=self.writes_per_minute or None,
            bytes_per_day=self.bytes_per_day or None,
            uploads_under_way=self.uploads_under_way or None,
        )


def read_settings(environment: Mapping[str, str] = os.environ) -> AwsSettings:
    """The settings; raises `StartError` for one that cannot be."""
    hints = get_type_hints(AwsSettings)
    values: dict[str, Any] = {}
    for field in fields(AwsSettings):
        text = environment.get(f"{_PREFIX}{field.name.upper()}")
        if text is None:
            continue
        try:
            values[field.name] = hints[field.name](text)
        except ValueError as exc:
            raise StartError(
                f"{_PREFIX}{field.name.upper()} must be a number, not {text!r}."
            ) from exc
    parse_origins(values.get("cors_origins", ""))
    parse_admin_claim(values.get("jwt_admin_claim", ""))
    return AwsSettings(**values)


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

    @cached_property
    def comments(self) -> DynamoCommentStore:
        return DynamoCommentStore(self.table, self.clock, request_id=_request_id)

    @property
    def stores(self) -> Stores:
        """The stores and quotas of the API."""
        table, clock, comments = self.table, self.clock, self.comments
        quotas = EventualQuotas(DynamoUsageStore(table, clock), clock, self.settings.limits)
        posts = self.posts(removed=comments.forget, quotas=quotas)
        return Stores(
            posts=posts,
            comments=comments,
            feed=DynamoFeedReader(table, shards=self.settings.feed_shards),
            images=self.images,
            uploads=self.uploads,
            upload_records=self.upload_records,
            put_urls=S3PutUrlSigner(LazyClient("s3"), self.settings.uploads_bucket, clock),
            reports=DynamoReportStore(table, clock),
            decisions=DynamoDecisionStore(table, clock, posts, comments),
            accounts=DynamoAccountStore(
                table, clock, comments, standing=quotas.standing, changed=quotas.forget
            ),
            blocks=DynamoBlockStore(table, clock),
            clock=clock,
            writes=quotas,
            upload_quota=quotas,
        )

    def image_publisher(self, renderer: ImageRenderer) -> StoredImagePublisher:
        posts, images = self.posts(_bind_request), self.images
        publisher = ImagePublisher(posts, images, renderer)
        return StoredImagePublisher(
            posts, images, publisher, self.failures, self.accounts.standing, self.clock
        )

    @property
    def change_applier(self) -> ChangeApplier:
        checks = DynamoScheduledChecks(self.table, self.clock)
        return ChangeApplier(
            self._counter, self.images.start_work, self._purger, checks, self._copies.forget
        )

    @property
    def usage_recorder(self) -> UsageRecorder:
        usage, records = DynamoUsageStore(self.table, self.clock), self.upload_records
        return UsageRecorder(usage, records, self.posts(), self.clock, self.settings.limits)

    @property
    def accounts(self) -> DynamoAccountStore:
        """The store of accounts, without a cache."""
        return DynamoAccountStore(self.table, self.clock, self.comments)

    @property
    def deletions(self) -> AccountDeletions:
        """The service that deletes the data of accounts."""
        posts = PostService(
            self.posts(),
            self.images,
            self.clock,
            self.settings.limits,
            render=lambda _: b"",  # it only deletes
            notifier=NULL_NOTIFIER,
            poll_seconds=0,
        )
        return AccountDeletions(self.accounts, AccountEraser(self.accounts, posts))

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
            forget_copies=self._copies.forget,
            clock=clock,
            failed_days=self.settings.failed_days,
        )
        rebuilder = DynamoFeedRebuilder(table, self._counter, shards=self.settings.feed_shards)
        cursors = DynamoReconciliationCursorStore(table)
        return Reconciliation(
            reconciler, rebuilder, posts, self.images, cursors, clock, self.deletions
        )

    @property
    def _counter(self) -> DynamoCommentCounter:
        latest_kept = self.settings.latest_kept
        return DynamoCommentCounter(self.table, self.clock, latest_kept=latest_kept)

    @property
    def _copies(self) -> PublishedCopies:
        """The CDN's copies of images."""
        cache = CloudFrontImageCache(LazyClient("cloudfront"), self.settings.distribution)
        return PublishedCopies(self.posts(), cache.forget)

    @property
    def _purger(self) -> PostPurger:
        """The service that purges deleted posts, also from the CDN."""
        return PostPurger(self.posts(), self.images, self._copies.forget)
