"""An endpoint does one thing to one storage: how often each asks AWS, counted on botocore's own
clients, behind the real app, on the emulator."""

import hashlib
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from aws_local.emulator import CREDENTIALS, REGION, Emulator
from contract.ports.suite import a_comment, a_post
from image_poster.adapters.clock import SystemClock
from image_poster.adapters.dynamodb.comments import DynamoCommentStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import COMMENT, POST
from image_poster.domain.posts import published_post
from image_poster.editions.aws import container, events
from image_poster.editions.aws.settings import AwsSettings
from support import samples
from support.renderer import RENDERED
from support.tables import EmulatedTable

pytestmark = pytest.mark.anyio
IMAGE = samples.jpeg()
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}


@dataclass
class Calls:
    """The calls of AWS since the last look: the number of each operation, and the items written
    (their keys)."""

    counts: Counter[str] = field(default_factory=Counter)
    written: list[str] = field(default_factory=list)

    def note(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        self.counts[model.name] += 1
        if "Write" in model.name or model.name in {"PutItem", "UpdateItem"}:
            self.written.append(params["body"].decode())

    def look(self) -> dict[str, int]:
        counts, self.counts = dict(self.counts), Counter()
        return counts


@dataclass
class Service:
    """The API Lambda's app, as a user, with what it asks of AWS."""

    http: httpx.AsyncClient
    calls: Calls
    posts: DynamoPostStore
    comments: DynamoCommentStore

    async def cost(self, method: str, path: str, status: int, **parts: Any) -> dict[str, int]:
        self.calls.look()
        self.calls.written.clear()
        answer = await self.http.request(method, path, **parts)
        assert answer.status_code == status, answer.text
        self.answer = answer
        return self.calls.look()

    async def ready(self) -> str:
        post = a_post()
        await self.posts.add(post)
        await self.posts.update(post.id, lambda current: published_post(current, RENDERED))
        return post.id

    async def commented(self, post_id: str) -> str:
        comment = a_comment(post_id, creator="alice")
        await self.comments.add(comment)
        return comment.id


@pytest.fixture(params=[1, 3], ids=["one shard", "three shards"])
def shards(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def settings(emulator: Emulator, shards: int) -> AwsSettings:
    storage = emulator.client("s3")
    buckets = [f"{kind}-{secrets.token_hex(6)}" for kind in ("uploads", "images")]
    for name in buckets:
        place = {"LocationConstraint": REGION}
        storage.create_bucket(Bucket=name, CreateBucketConfiguration=place)
    return AwsSettings(
        table=EmulatedTable(emulator).name,
        uploads_bucket=buckets[0],
        images_bucket=buckets[1],
        signing_key="key",
        jwt_issuer="https://issuer.example",
        feed_shards=shards,
    )


@pytest.fixture
def calls(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Counted from here on, whatever client `parts` makes."""
    noted = Calls()
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            clients[service] = emulator.client(service)
            clients[service].meta.events.register("before-call", noted.note)
        return clients[service]

    for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(container, "client", client)
    # The emulator may be so slow that what is remembered of limits would be read again.
    monkeypatch.setattr(events, "_CACHE_MS", 3_600_000)
    yield noted
    for service_client in clients.values():
        service_client.close()


@pytest.fixture
async def service(settings: AwsSettings, calls: Calls) -> AsyncIterator[Service]:
    from image_poster.editions.aws.api import compose

    app: Any = compose(settings)

    async def as_user(scope: Any, receive: Any, send: Any) -> None:
        """As Mangum does, with the claims that API Gateway's authorizer found."""
        user = dict(scope["headers"]).get(b"x-user", b"alice").decode()
        claims = {"authorizer": {"jwt": {"claims": {"sub": user}}}}
        await app({**scope, "aws.event": {"requestContext": claims}}, receive, send)

    rows, clock = container.AwsContainer(settings).table, SystemClock()
    transport = httpx.ASGITransport(as_user)
    async with httpx.AsyncClient(transport=transport, base_url="http://aws") as http:
        await http.delete("/posts/nothing")  # now alice's limits are known
        posts = DynamoPostStore(rows, clock, shards=settings.feed_shards)
        yield Service(http, calls, posts, DynamoCommentStore(rows, clock))


@pytest.mark.parametrize("query", ["", "?comments=10&limit=100"])
async def test_a_page_of_the_feed_is_one_query_a_shard(
    service: Service, shards: int, query: str
) -> None:
    for _ in range(4):
        await service.ready()
    assert await service.cost("GET", f"/posts{query}", 200) == {"Query": shards}
    assert len(service.answer.json()["posts"]) == 4


async def test_a_page_of_the_newest_is_a_query_a_shard_and_one_batch(
    service: Service, shards: int
) -> None:
    """Only the index that everybody reads has texts."""
    for _ in range(4):
        await service.ready()
    cost = await service.cost("GET", "/posts?sort=new", 200)
    assert cost == {"Query": shards, "BatchGetItem": 1}
    assert len(service.answer.json()["posts"]) == 4


async def test_a_page_of_one_creator_is_one_query_and_one_batch_whatever_the_shards(
    service: Service,
) -> None:
    await service.ready()
    for sort in ("top", "new"):
        cost = await service.cost("GET", f"/posts?creator=alice&sort={sort}", 200)
        assert cost == {"Query": 1, "BatchGetItem": 1}


async def test_pages_may_be_shared_for_a_second_and_personal_ones_never(service: Service) -> None:
    await service.ready()
    for headers in ({}, {"authorization": "Bearer token"}):
        await service.cost("GET", "/posts", 200, headers=headers)
        shared = service.answer.headers["cache-control"]
        assert shared == "public, max-age=1, stale-while-revalidate=5"
    for path in ("/me/feed", "/me/posts?status=unfinished"):
        await service.cost("GET", path, 200)
        assert "public" not in service.answer.headers["cache-control"]


async def test_one_post_is_one_read(service: Service) -> None:
    path = f"/posts/{await service.ready()}"
    assert await service.cost("GET", path, 200) == {"GetItem": 1}


async def test_a_page_of_comments_is_one_read_and_one_query(service: Service) -> None:
    path = f"/posts/{await service.ready()}/comments"
    assert await service.cost("GET", path, 200) == {"GetItem": 1, "Query": 1}


async def test_a_comment_is_one_read_then_none_and_one_write(service: Service) -> None:
    """A warm Lambda remembers for a minute that the post is there. The post's own item is no part
    of the write."""
    path = f"/posts/{await service.ready()}/comments"
    body = {"json": {"content": "hello"}}
    assert await service.cost("POST", path, 201, **body) == {"GetItem": 1, "PutItem": 1}
    assert await service.cost("POST", path, 201, **body) == {"PutItem": 1}
    assert_new_items(service, COMMENT)


async def test_a_comment_reads_the_post_the_caller_and_the_block_and_the_first_two_are_cached(
    service: Service,
) -> None:
    """Usage, ban and deletion of the caller are one batch read of two items."""
    path = f"/posts/{await service.ready()}/comments"
    parts: dict[str, Any] = {"json": {"content": "hello"}, "headers": {"x-user": "bob"}}
    cost = await service.cost("POST", path, 201, **parts)
    assert cost == {"GetItem": 2, "BatchGetItem": 1, "PutItem": 1}
    assert await service.cost("POST", path, 201, **parts) == {"GetItem": 1, "PutItem": 1}


async def test_readiness_is_one_write_a_second_however_many_ask(service: Service) -> None:
    costs = [await service.cost("GET", "/readyz", 200) for _ in range(3)]
    assert costs[0] == {"UpdateItem": 1}
    assert all(cost in ({}, {"UpdateItem": 1}) for cost in costs)  # the emulator may be slow


async def test_a_comment_with_a_key_is_one_transaction_of_two_new_items(service: Service) -> None:
    path = f"/posts/{await service.ready()}/comments"
    body: dict[str, Any] = {"json": {"content": "hello"}, "headers": {"idempotency-key": "one"}}
    cost = await service.cost("POST", path, 201, **body)
    # The other read is of the keys that deleted accounts used.
    assert cost == {"GetItem": 1 + 1, "TransactWriteItems": 1}
    assert_new_items(service, COMMENT, "KEY#")
    # A repeat also looks whether what was made is still there: post and comment.
    cost = await service.cost("POST", path, 201, **body)
    assert cost == {"TransactWriteItems": 1, "GetItem": 1 + 2}
    assert service.answer.headers["idempotent-replayed"] == "true"


def assert_new_items(service: Service, *kinds: str) -> None:
    (written,) = service.calls.written
    assert f'"SK": {{"S": "{POST}"}}' not in written
    assert '"ConditionCheck":' not in written
    assert written.count("attribute_not_exists(#PK)") == len(kinds)
    for kind in kinds:
        assert f'"SK": {{"S": "{kind}' in written


async def test_a_reservation_is_one_write(service: Service) -> None:
    image = {"size": 9, "content_type": "image/jpeg", "sha256": "0" * 64}
    body: dict[str, Any] = {"json": {"image": image}}
    assert await service.cost("POST", "/posts", 201, **body) == {"PutItem": 1}
    body["headers"] = {"idempotency-key": "one"}
    cost = await service.cost("POST", "/posts", 201, **body)
    assert cost == {"GetItem": 1, "TransactWriteItems": 1}
    headers = {**TUS, "upload-length": "9"}
    assert await service.cost("POST", "/uploads", 201, headers=headers) == {"PutItem": 1}


async def test_an_image_in_its_request_is_one_object_and_one_write(service: Service) -> None:
    """And its bytes are booked: of the other ways the stream tells."""
    files = {"image": ("photo.jpg", IMAGE)}
    cost = await service.cost("POST", "/posts", 201, files=files)
    assert cost == {"PutObject": 1, "PutItem": 1 + 1, "GetItem": 1}


async def test_a_piece_is_one_read_one_object_and_one_conditional_update(service: Service) -> None:
    headers = {**TUS, "upload-length": str(len(IMAGE))}
    await service.cost("POST", "/uploads", 201, headers=headers)
    path = service.answer.headers["location"]
    assert await service.cost("HEAD", path, 200, headers=TUS) == {"GetItem": 1}
    sent = {**PIECE, "upload-offset": "0"}
    cost = await service.cost("PATCH", path, 204, headers=sent, content=IMAGE[:100])
    assert cost == {"GetItem": 1, "PutObject": 1, "UpdateItem": 1}
    sent = {**PIECE, "upload-offset": "100"}
    cost = await service.cost("PATCH", path, 204, headers=sent, content=IMAGE[100:])
    # The last one completes the upload too, which reads the post and changes it.
    assert cost == {"GetItem": 2, "PutObject": 1, "UpdateItem": 2}


async def test_a_signed_put_asks_nothing_of_us(service: Service) -> None:
    image = {"size": len(IMAGE), "content_type": "image/jpeg"}
    image["sha256"] = hashlib.sha256(IMAGE).hexdigest()
    await service.cost("POST", "/posts", 201, json={"image": image})
    put = service.answer.json()["upload"]["put"]
    assert httpx.URL(put["url"]).host == "127.0.0.1"  # S3 itself, and not this service
    assert httpx.put(put["url"], headers=put["headers"], content=IMAGE).is_success
    assert service.calls.look() == {}


async def test_deleting_ones_own_comment_is_one_conditional_write(service: Service) -> None:
    """It also reads whether the post is hidden, and which entries of the queue it closes."""
    post_id = await service.ready()
    path = f"/posts/{post_id}/comments/{await service.commented(post_id)}"
    cost = await service.cost("DELETE", path, 204)
    assert cost == {"GetItem": 1, "UpdateItem": 1, "Query": 1}
    assert "ConditionExpression" in service.calls.written[0]


async def test_editing_a_post_is_one_read_and_one_conditional_write(service: Service) -> None:
    path = f"/posts/{await service.ready()}"
    cost = await service.cost("PATCH", path, 200, json={"caption": "new"})
    assert cost == {"GetItem": 1, "UpdateItem": 1}
    assert "ConditionExpression" in service.calls.written[0]


async def test_deleting_a_post_is_one_conditional_write_and_then_its_images(
    service: Service,
) -> None:
    path = f"/posts/{await service.ready()}"
    cost = await service.cost("DELETE", path, 204)
    # The query is of the entries of the queue, which are closed.
    assert cost == {"UpdateItem": 1, "Query": 1, "ListObjectsV2": 1, "DeleteObjects": 2}


@pytest.mark.parametrize("path", ["/limits", "/healthz", "/openapi.json", "/docs"])
async def test_what_needs_no_storage_asks_none(service: Service, path: str) -> None:
    assert await service.cost("GET", path, 200) == {}


async def test_ones_own_posts_are_two_queries_at_most_and_one_batch(service: Service) -> None:
    await service.ready()
    calls = {"Query": 1, "BatchGetItem": 1}
    assert await service.cost("GET", "/me/posts?status=ready", 200) == calls
    assert await service.cost("GET", "/me/posts", 200) == {"Query": 2, "BatchGetItem": 1}


async def test_ones_own_feed_adds_a_query_of_blocks_and_a_batch_of_reports(
    service: Service, shards: int
) -> None:
    await service.ready()
    cost = await service.cost("GET", "/me/feed", 200)
    assert cost == {"Query": shards + 1, "BatchGetItem": 1}


async def test_a_report_is_one_transaction(service: Service) -> None:
    body = {"json": {"post_id": await service.ready(), "reason": "spam"}}
    parts: dict[str, Any] = {**body, "headers": {"x-user": "bob"}}
    cost = await service.cost("POST", "/reports", 201, **parts)
    # The caller; the post, for the rules and within the store; and the entry of the queue.
    assert cost == {"BatchGetItem": 1, "GetItem": 2 + 1, "TransactWriteItems": 1}
    # Of a repeat, also the reporter's report.
    assert await service.cost("POST", "/reports", 200, **parts) == {"GetItem": 2 + 2}
