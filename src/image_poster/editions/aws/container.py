"""The composition of the AWS edition, in each Lambda and command: the class for each port. The
image Lambda calls the review hook, whose secret is in Secrets Manager."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import structlog
from botocore.config import Config
from botocore.session import Session, get_session

from image_poster.adapters.clock import SystemClock
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore, DynamoReportStore
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
from image_poster.adapters.dynamodb.standing import DynamoBlockStore
from image_poster.adapters.dynamodb.uploads import DynamoUploadRecordStore, DynamoUsageStore
from image_poster.adapters.s3.images import CloudFrontImageCache, S3ImageStore
from image_poster.adapters.s3.schema import Buckets, List, S3List
from image_poster.adapters.s3.uploads import S3PutUrlSigner, S3UploadStore
from image_poster.adapters.webhooks import HttpReviewHook, decoded_secret
from image_poster.domain.block_lists import BlockedWords, HashList
from image_poster.domain.errors import FieldError, TextBlockedError
from image_poster.domain.images import RENDITION_SMALL
from image_poster.editions import StartError
from image_poster.editions.aws import tracing
from image_poster.editions.aws.events import ChangeApplier, EventualQuotas, UsageRecorder
from image_poster.editions.aws.image_work import (
    PublishedCopies,
    RenditionPlaces,
    StoredImagePublisher,
)
from image_poster.editions.aws.reconciliation import (
    AccountDeletions,
    Reconciler,
    Reconciliation,
    erase_content_in_time,
)
from image_poster.editions.aws.settings import PIECE_BYTES, AwsSettings, read_settings
from image_poster.ports.images import ImageRenderer
from image_poster.ports.posts import HookReviews
from image_poster.services import Stores
from image_poster.services.accounts import AccountEraser
from image_poster.services.images import ImagePublisher
from image_poster.services.posts import NULL_NOTIFIER, PostPurger, PostService
from image_poster.services.review import (
    BlockedImages,
    HookReviewer,
    ImmediateReviews,
    ReviewHook,
    ReviewMode,
    Screening,
)


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
    In us-east-1 it would do so even then, and the gallery's policy names the regional host. The
    time-outs are settings, because a caller waits for the response.
    """
    settings = read_settings()
    config = Config(
        connect_timeout=settings.sdk_connect_seconds,
        read_timeout=settings.sdk_read_seconds,
        retries={"mode": "standard", "total_max_attempts": settings.sdk_tries},
        signature_version="s3v4" if service == "s3" else None,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
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


def secret_values(arn: str) -> tuple[str, ...]:
    """The current text of a secret, and the previous one if there is one."""
    if not arn:
        return ("",)
    manager = client("secretsmanager")
    try:
        previous = manager.get_secret_value(SecretId=arn, VersionStage="AWSPREVIOUS")
    except manager.exceptions.ResourceNotFoundException:
        return (secret(arn),)
    return secret(arn), str(previous["SecretString"])


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
        quotas = EventualQuotas(DynamoUsageStore(table, clock), clock, self.settings.limits)
        check = quotas.check_may_write
        comments = DynamoCommentStore(table, clock, request_id=_request_id, check_may_write=check)
        posts = self.posts(removed=comments.forget, quotas=quotas)
        return Stores(
            posts=posts,
            comments=comments,
            feed=DynamoFeedReader(table, shards=self.settings.feed_shards),
            images=self.images,
            uploads=self.uploads,
            upload_records=self.upload_records,
            put_urls=S3PutUrlSigner(LazyClient("s3"), self.settings.uploads_bucket, clock),
            reports=DynamoReportStore(table, clock, check_may_write=check),
            decisions=DynamoDecisionStore(
                table, clock, posts, comments, check_may_write=check, changed=quotas.forget
            ),
            accounts=DynamoAccountStore(
                table, clock, comments, standing=quotas.standing, changed=quotas.forget
            ),
            blocks=DynamoBlockStore(table, clock, check_may_write=check),
            clock=clock,
            writes=quotas,
            upload_quota=quotas,
            start_erasure=erase_content_in_time,
            check_text=self.check_text,
        )

    def image_publisher(
        self, renderer: ImageRenderer, reviews: HookReviews | None = None
    ) -> StoredImagePublisher:
        """The service of the image Lambda; `reviews` are those by the hook."""
        posts, images = self.posts(_bind_request), self.images
        publisher = ImagePublisher(posts, images, renderer, self._screening, reviews)
        return StoredImagePublisher(
            posts, images, publisher, self.failures, self.accounts.standing, self.clock
        )

    @property
    def change_applier(self) -> ChangeApplier:
        checks = DynamoScheduledChecks(self.table, self.clock)
        return ChangeApplier(
            self._counter, self.images.start_work, self._purger, checks, self._places.withdraw
        )

    @property
    def usage_recorder(self) -> UsageRecorder:
        usage, records = DynamoUsageStore(self.table, self.clock), self.upload_records
        return UsageRecorder(usage, records, self.posts(), self.clock, self.settings.limits)

    @property
    def accounts(self) -> DynamoAccountStore:
        """The store of accounts, without a cache."""
        comments = DynamoCommentStore(self.table, self.clock, request_id=_request_id)
        return DynamoAccountStore(self.table, self.clock, comments)

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
            places=self._places,
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
        latest_kept, shards = self.settings.latest_kept, self.settings.feed_shards
        return DynamoCommentCounter(self.table, self.clock, latest_kept=latest_kept, shards=shards)

    @cached_property
    def blocked_words(self) -> S3List[BlockedWords]:
        """The operator's list of blocked words."""
        return self._list(self.settings.blocked_words, BlockedWords.parse)

    def check_text(self, field: str, text: str) -> None:
        """The `TextCheck` by the list of blocked words. Raises `TextBlockedError` and
        `BusyError`."""
        if self.blocked_words.current().matches(text):
            raise TextBlockedError(FieldError(field, "contains a word that is not allowed"))

    @property
    def _screening(self) -> Screening:
        """The screening of images, by the operator's list and by decisions."""
        hashes = self._list(self.settings.blocked_images, HashList.parse)
        comments = DynamoCommentStore(self.table, self.clock)
        decisions = DynamoDecisionStore(self.table, self.clock, self.posts(), comments)
        matcher = BlockedImages(hashes.current, decisions)
        return Screening(matcher, self.clock, ReviewMode(self.settings.review))

    def _list(self, key: str, parse: Callable[[str], List]) -> S3List[List]:
        place = {"Bucket": self.settings.uploads_bucket, "Key": key}
        return S3List(LazyClient("s3"), place, parse, self.clock)

    @property
    def _copies(self) -> PublishedCopies:
        """The CDN's copies of images."""
        cache = CloudFrontImageCache(LazyClient("cloudfront"), self.settings.distribution)
        return PublishedCopies(self.posts(), cache.forget)

    @property
    def _places(self) -> RenditionPlaces:
        return RenditionPlaces(self.posts(), self.images, self._copies.forget)

    @property
    def _purger(self) -> PostPurger:
        """The service that purges deleted posts, also from the CDN."""
        return PostPurger(self.posts(), self.images, self._copies.forget)


def hook_reviews(aws: AwsContainer) -> HookReviews | None:
    """The reviews by the hook that the settings name; None without one. Raises `StartError`."""
    settings = aws.settings
    if settings.review != ReviewMode.HOOK:
        return None
    key = _key(secret(settings.webhook_secret))
    return reviews_by(aws, HttpReviewHook(settings.review_url, lambda: (key,)))


def reviews_by(aws: AwsContainer, hook: ReviewHook) -> ImmediateReviews:
    """The reviews by this hook."""

    def image_url(post_id: str) -> str:
        return aws.images.review_url(post_id, RENDITION_SMALL)

    return ImmediateReviews(HookReviewer(aws.posts(), hook, aws.clock, image_url))


def _key(text: str) -> bytes:
    try:
        return decoded_secret(text)
    except ValueError as exc:
        raise StartError("The webhook secret must be Base64, after an optional whsec_.") from exc
