"""Each role may do what its code does, and nothing else: the calls of all Lambdas, recorded,
against the policies as they are deployed."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from aws_local.emulator import CREDENTIALS, REGION, Emulator
from aws_local.stack import deploy
from contract.ports.suite import ALICE, a_comment, a_post, a_record
from image_poster.adapters.dynamodb.stream import begun_deletions, changes_by_post, decoded_records
from image_poster.domain.accounts import Block
from image_poster.domain.images import RENDITIONS, ImageWorkFailedError, RenderedImage
from image_poster.domain.posts import published_post
from image_poster.editions.aws import container, operate
from image_poster.editions.aws.container import hook_reviews, reviews_by
from image_poster.editions.aws.settings import AwsSettings
from image_poster.ports.images import Workspace
from image_poster.services.review import HookAnswer
from support import samples
from support.permissions import Grant, Need, Places, grants, needs, refused, unused
from support.renderer import RENDERED, FakeRenderer

pytestmark = pytest.mark.anyio
NAME = "rights"
ROLES = ("ApiRole", "ImageRole", "StreamRole", "HealingRole")
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}
IMAGE = samples.jpeg()
# What Lambda itself does with a role, so that no call of ours shows it.
BY_LAMBDA = {
    "logs:CreateLogStream": "the function's log",
    "logs:PutLogEvents": "the function's log",
    "xray:PutTraceSegments": "Lambda's daemon, which our tracing sends to",
    "xray:PutTelemetryRecords": "Lambda's daemon",
    "sqs:SendMessage": "letters of what was given up",
    "dynamodb:DescribeStream": "the event-source mapping",
    "dynamodb:GetRecords": "the event-source mapping",
    "dynamodb:GetShardIterator": "the event-source mapping",
    "dynamodb:ListStreams": "the event-source mapping",
}


class Recorder:
    """Clients whose calls are noted, with the role that makes them."""

    def __init__(self, emulator: Emulator, account: str) -> None:
        self.role = ""
        self.calls: set[Need] = set()
        self._places = Places(REGION, account)
        self._emulator = emulator
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            client = self._clients[service] = self._emulator.client(service)
            client.meta.events.register("provide-client-params", self._note)
        return self._clients[service]

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        service = model.service_model.service_id.hyphenize()
        if not self.role:
            return  # of nobody: it prepares what a role is to meet
        for action, resource in needs(service, model.name, params, self._places):
            self.calls.add(Need(self.role, action, resource))

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@pytest.fixture(scope="module")
def outputs(emulator: Emulator) -> dict[str, str]:
    return deploy(
        emulator,
        NAME,
        JwtIssuer="https://issuer.example",
        JwtAudience="us",
        Review="hook",
        ReviewUrl="https://review.example",
    ).outputs


@pytest.fixture
def settings(outputs: dict[str, str]) -> AwsSettings:
    told = operate.Stack(outputs).settings
    own = {"jwt_issuer": "https://issuer.example", "signing_key": "key", "admins": "alice"}
    lists = {"blocked_words": "lists/words.txt", "blocked_images": "lists/images.txt"}
    return AwsSettings(**{**told.__dict__, **own, **lists})


@pytest.fixture
def recorder(
    emulator: Emulator, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recorder]:
    # The deployed Lambdas would be quicker than ours.
    mappings = emulator.client("lambda")
    for mapping in mappings.list_event_source_mappings()["EventSourceMappings"]:
        mappings.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    emulator.client("s3").put_bucket_notification_configuration(
        Bucket=outputs["UploadsBucket"], NotificationConfiguration={}
    )
    account = emulator.client("sts").get_caller_identity()["Account"]
    recorder = Recorder(emulator, account)
    for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(container, "client", recorder.client)
    yield recorder
    recorder.close()


@pytest.fixture
def allowed(emulator: Emulator, outputs: dict[str, str]) -> list[Grant]:
    """The policies of the roles, as CloudFormation resolved them."""
    assert outputs
    formation, iam = emulator.client("cloudformation"), emulator.client("iam")
    resources = formation.describe_stack_resources(StackName=NAME)["StackResources"]
    names = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources
    }
    policies = list[Grant]()
    for role in ROLES:
        for policy in iam.list_role_policies(RoleName=names[role])["PolicyNames"]:
            document = iam.get_role_policy(RoleName=names[role], PolicyName=policy)
            policies += grants(role, document["PolicyDocument"])
    return policies


class HashingRenderer(FakeRenderer):
    """Images of which each can be compared with blocked ones."""

    async def render(self, work: Workspace) -> RenderedImage:
        rendered = await super().render(work)
        return msgspec.structs.replace(rendered, hash="f" * 64, hash_quality=100)


class FetchingHook:
    """A hook that reads the image and publishes it: with the rights of who signed its URL."""

    def __init__(self) -> None:
        self.asked = list[str]()

    async def ask(self, webhook_id: str, body: bytes) -> HookAnswer:
        self.asked.append(webhook_id)
        url = msgspec.json.decode(body)["data"]["image_url"]
        async with httpx.AsyncClient() as http:
            assert (await http.get(url)).content == b"jpeg"
        return HookAnswer("publish")


class Api:
    """The API Lambda's app, as alice."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def ask(self, method: str, path: str, status: int, **parts: Any) -> httpx.Response:
        answer = await self._http.request(method, path, **parts)
        assert answer.status_code == status, answer.text
        return answer

    async def reserved(self, **image: Any) -> Any:
        body = {"image": {"size": len(IMAGE), "content_type": "image/jpeg", **image}}
        return (await self.ask("POST", "/posts", 201, json=body)).json()


@pytest.fixture
async def api(recorder: Recorder, settings: AwsSettings) -> AsyncIterator[Api]:
    from image_poster.editions.aws.api import compose

    app: Any = compose(settings)
    assert recorder.calls == set()

    async def as_alice(scope: Any, receive: Any, send: Any) -> None:
        claims = {"authorizer": {"jwt": {"claims": {"sub": "alice"}}}}
        await app({**scope, "aws.event": {"requestContext": claims}}, receive, send)

    transport = httpx.ASGITransport(as_alice)
    async with httpx.AsyncClient(transport=transport, base_url="http://aws") as http:
        yield Api(http)


async def test_no_call_is_without_a_grant_and_no_grant_without_a_call(
    recorder: Recorder,
    settings: AwsSettings,
    api: Api,
    allowed: list[Grant],
    outputs: dict[str, str],
    emulator: Emulator,
) -> None:
    world = World(recorder, settings, api, emulator, outputs)
    for name in (settings.blocked_words, settings.blocked_images):
        emulator.client("s3").put_object(Bucket=outputs["UploadsBucket"], Key=name, Body=b"# none")
    await world.as_role("ApiRole", world.ask_for_everything)
    await world.as_role("ImageRole", world.work_on_images)
    await world.as_role("ApiRole", world.comment_and_delete)
    await world.as_role("ApiRole", world.moderate)
    await world.as_role("StreamRole", world.follow_the_stream)
    await world.as_role("HealingRole", world.heal)
    ours = [grant for grant in allowed if grant.action not in BY_LAMBDA]
    assert {grant.role for grant in ours} == set(ROLES)
    assert refused(recorder.calls, allowed) == []
    assert unused(recorder.calls, ours) == []


class World:
    """Each action of each Lambda, in each of its ways, at least once."""

    def __init__(
        self,
        recorder: Recorder,
        settings: AwsSettings,
        api: Api,
        emulator: Emulator,
        outputs: dict[str, str],
    ) -> None:
        self._recorder, self._settings, self._api = recorder, settings, api
        self._emulator, self._outputs = emulator, outputs
        self._posts: dict[str, str] = {}

    async def as_role(self, role: str, work: Callable[[], Awaitable[None]]) -> None:
        self._recorder.role = role
        await work()

    async def ask_for_everything(self) -> None:
        formation = self._emulator.client("cloudformation")
        resources = formation.describe_stack_resources(StackName=NAME)["StackResources"]
        for resource in resources:  # as when the Lambda starts
            if resource["LogicalResourceId"] in {"SigningKey", "OriginSecret"}:
                container.secret(resource["PhysicalResourceId"])
        ask = self._api.ask
        await ask("GET", "/readyz", 200)
        files = {"image": ("photo.jpg", IMAGE)}
        self._posts["pieces"] = (await ask("POST", "/posts", 201, files=files)).json()["id"]
        self._posts["put"] = (await self._api.reserved())["id"]
        digest = hashlib.sha256(IMAGE).hexdigest()
        sent = await self._api.reserved(sha256=digest)
        for at in (0, 100):
            headers = {**PIECE, "upload-offset": str(at)}
            content = IMAGE[:100] if at == 0 else IMAGE[100:]
            await ask("PATCH", sent["upload"]["tus"], 204, headers=headers, content=content)
        await ask("HEAD", sent["upload"]["tus"], 200, headers=TUS)
        self._posts["digest"] = sent["id"]
        deferred = {**TUS, "upload-defer-length": "1", "idempotency-key": "key"}
        await ask("POST", "/uploads", 201, headers=deferred)
        await ask("GET", "/me/posts?status=unfinished", 200)
        self._put(f"incoming/{self._posts['put']}")

    async def work_on_images(self) -> None:
        renderer = HashingRenderer()
        publisher = container.AwsContainer(self._settings).image_publisher(renderer)
        for name in ("pieces", "put", "digest"):
            await publisher.publish(self._posts[name])
        self._recorder.role = ""
        gone = (await self._api.reserved())["id"]
        broken = (await self._api.reserved())["id"]
        for post_id in (gone, broken):
            self._put(f"incoming/{post_id}")
        await container.AwsContainer(self._settings).posts().remove(gone, ALICE)
        self._recorder.role = "ImageRole"
        await publisher.publish(gone)
        renderer.troubles = [ImageWorkFailedError("no memory")]
        with pytest.raises(ImageWorkFailedError):
            await publisher.publish(broken)
        self._recorder.role = ""
        reviewed = (await self._api.reserved())["id"]
        self._put(f"incoming/{reviewed}")
        self._recorder.role = "ImageRole"
        hooked = dataclasses.replace(
            self._settings,
            review="hook",
            review_url="https://review.example",
            webhook_secret=self._outputs["WebhookSecret"],
        )
        aws, hook = container.AwsContainer(hooked), FetchingHook()
        assert hook_reviews(aws) is not None  # as when the Lambda starts
        reviews = reviews_by(aws, hook)
        assert await aws.image_publisher(renderer, reviews).publish(reviewed) == "ready"
        assert hook.asked
        # As when the post is hidden at the same moment.
        await aws.images.withhold(reviewed)

    async def moderate(self) -> None:
        ask = self._api.ask
        for name in ("hidden", "restored", "deleted"):
            self._posts[name] = await self._published_by("bob")
        reported = {"json": {"post_id": self._posts["hidden"], "reason": "spam"}}
        await ask("POST", "/reports", 201, **reported)
        await ask("PUT", "/me/blocks/carol", 204)
        await ask("DELETE", "/me/blocks/carol", 204)
        for path in ("feed", "posts", "comments", "reports", "blocks", "decisions"):
            await ask("GET", f"/me/{path}", 200)
        await ask("GET", "/moderation/queue", 200)
        for name in ("hidden", "restored"):
            await self._decide(name, "hide")
            await ask("GET", f"/moderation/images/{self._posts[name]}/600.jpg", 302)
        await self._decide("restored", "restore")
        await self._decide("deleted", "delete", block_image=True)
        await ask("GET", "/moderation/decisions", 200)

    async def _decide(self, name: str, action: str, **more: Any) -> None:
        order = {"post_id": self._posts[name], "action": action, "reason": "spam", **more}
        await self._api.ask("POST", "/moderation/decisions", 201, json=order)

    async def _published_by(self, creator: str) -> str:
        """A ready post of another user, made by nobody."""
        role, self._recorder.role = self._recorder.role, ""
        post, posts = a_post(creator), container.AwsContainer(self._settings).posts()
        await posts.add(post)
        await posts.update(
            post.id, lambda current: published_post(current, RENDERED), image_hash="0" * 64
        )
        for name in RENDITIONS:
            self._put_image(f"images/{post.id}/{name}.jpg")
        self._recorder.role = role
        return post.id

    async def _account(self, user: str) -> None:
        """Data of a user whose deletion has begun, made by nobody."""
        self._recorder.role = ""
        stores = container.AwsContainer(self._settings).stores
        await self._published_by(user)
        record = a_record("key", user, location="/comments/1")
        await stores.comments.add(a_comment(self._posts["put"], creator=user), record)
        await stores.blocks.add(user, Block("alice", "2026-01-01T00:00:00.000Z"))
        await stores.accounts.begin_deletion(user)

    async def comment_and_delete(self) -> None:
        ask, post = self._api.ask, f"/posts/{self._posts['put']}"
        page = await ask("GET", "/posts?limit=1", 200)
        await ask("GET", page.links["next"]["url"], 200)
        for query in ("sort=new", "creator=alice", "creator=alice&sort=new"):
            await ask("GET", f"/posts?{query}", 200)
        await ask("GET", f"{post}/original", 302)
        await ask("PATCH", post, 200, json={"caption": "new"})
        body = {"json": {"content": "hello"}}
        answer = (await ask("POST", f"{post}/comments", 201, **body)).json()
        comment = f"{post}/comments/{answer['id']}"
        await ask("GET", f"{post}/comments", 200)
        await ask("PATCH", comment, 200, json={"content": "hi"})
        other = (await ask("POST", f"{post}/comments", 201, **body)).json()
        await ask("DELETE", f"{post}/comments/{other['id']}", 204)
        deleted = f"/posts/{self._posts['digest']}"
        await ask("POST", f"{deleted}/comments", 201, **body)
        await ask("DELETE", deleted, 204)

    async def follow_the_stream(self) -> None:
        await self._account("carol")
        self._recorder.role = "StreamRole"
        streams = self._emulator.client("dynamodbstreams")
        (arn,) = [
            stream["StreamArn"]
            for stream in streams.list_streams()["Streams"]
            if stream["TableName"] == self._settings.table
        ]
        aws = container.AwsContainer(self._settings)
        (shard, *_) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        records = streams.get_records(ShardIterator=iterator, Limit=1000)["Records"]
        decoded = decoded_records(records)
        assert changes_by_post(decoded)
        applier = aws.change_applier
        assert await applier.apply(decoded) == []
        await aws.usage_recorder.record_batch(decoded, [])
        await applier.checks.reschedule(self._posts["put"], None)
        assert begun_deletions(records) == ["carol"]
        await aws.deletions.run("carol", 30)
        # As when the post is restored at the same moment.
        await aws.images.expose(self._posts["hidden"])

    async def heal(self) -> None:
        self._recorder.role = ""
        posts = container.AwsContainer(self._settings).posts()
        comments = container.AwsContainer(self._settings).stores.comments
        left = (await self._api.reserved())["id"]
        self._put(f"incoming/{left}")
        files = {"image": ("photo.jpg", IMAGE)}
        await self._api.ask("POST", "/posts", 201, files=files)
        sent = await self._api.reserved(sha256=hashlib.sha256(IMAGE).hexdigest())
        self._pieces_whole(sent["id"])
        for word in ("counted", "dropped"):
            comment = a_comment(self._posts["put"], creator="alice", content=word)
            await comments.add(comment)
            if word == "dropped":
                await comments.remove(self._posts["put"], comment.id, ALICE)
        await comments.add(a_comment(self._posts["pieces"], creator="alice"))
        await posts.remove(self._posts["pieces"], ALICE)
        self._put("originals/01NOBODYS")
        await self._account("dave")
        self._recorder.role = "HealingRole"
        aws = container.AwsContainer(self._settings)
        healing = aws.reconciliation(ahead_ms=7 * 24 * 3600 * 1000)
        done = [repair async for repair in healing.run(900_000)]
        assert [repair.error for repair in done if repair.error] == []
        await aws.images.has_arrived("01NOBODYS")
        await self._set_aside(healing.images)

    async def _set_aside(self, images: Any) -> None:
        """The emulator's objects are of this moment; three days later they are old enough."""
        later = datetime.now(UTC) + timedelta(days=3)
        images._now = lambda: later
        assert await images.quarantine_original("01NOBODYS")

    def _pieces_whole(self, post_id: str) -> None:
        """As when the API Lambda ended right before it could complete an upload."""
        self._put(f"staging/{post_id}/000000000000")
        self._emulator.client("dynamodb").update_item(
            TableName=self._settings.table,
            Key={"PK": {"S": f"POST#{post_id}"}, "SK": {"S": "POST"}},
            UpdateExpression="SET upload_offset = :end",
            ExpressionAttributeValues={":end": {"N": str(len(IMAGE))}},
        )

    def _put(self, key: str) -> None:
        self._emulator.client("s3").put_object(
            Bucket=self._outputs["UploadsBucket"], Key=key, Body=IMAGE
        )

    def _put_image(self, key: str) -> None:
        self._emulator.client("s3").put_object(
            Bucket=self._outputs["ImagesBucket"], Key=key, Body=IMAGE
        )
