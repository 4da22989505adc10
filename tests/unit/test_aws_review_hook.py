"""The review hook on AWS: the image Lambda asks it between the rendering and the publication. The
real stores work over AWS in memory, and nobody really waits."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from botocore.session import Session

from contract.ports.suite import ALICE, a_post
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.accounts import DynamoAccountStore
from image_poster.adapters.dynamodb.checks import DynamoFailureCounter
from image_poster.adapters.dynamodb.comments import DynamoCommentStore
from image_poster.adapters.dynamodb.moderation import DynamoDecisionStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.s3.images import S3ImageStore
from image_poster.adapters.s3.schema import Buckets
from image_poster.domain.block_lists import HashList
from image_poster.domain.images import RENDITION_SMALL, RENDITIONS
from image_poster.domain.moderation import THE_SERVICE, Action, EntryKind
from image_poster.domain.posts import Failure, Post, PostStatus, new_stored_post, published_post
from image_poster.editions import StartError
from image_poster.editions.aws import container
from image_poster.editions.aws.container import AwsContainer
from image_poster.editions.aws.image_work import StoredImagePublisher
from image_poster.editions.aws.settings import AwsSettings, read_settings
from image_poster.http.post_bodies import post_body
from image_poster.services.images import ImagePublisher
from image_poster.services.review import (
    IMAGE_URL_MS,
    BlockedImages,
    HookAnswer,
    HookFailedError,
    HookReviewer,
    ImmediateReviews,
    ReviewMode,
    Screening,
    reviewed_post,
)
from support.dynamodb import FakeTable
from support.renderer import RENDERED, FakeRenderer, noop
from support.s3 import FakeS3

pytestmark = pytest.mark.anyio
HANGS = HookFailedError("it took too long")
URL = "https://review.example/"
HOOK = {
    "IMAGE_POSTER_REVIEW": "hook",
    "IMAGE_POSTER_REVIEW_URL": URL,
    "IMAGE_POSTER_WEBHOOK_SECRET": "arn:of:secret",
}


class Hook:
    """Answers as told, in turn; `meanwhile` happens while it decides."""

    def __init__(self) -> None:
        self.answers: list[HookAnswer | HookFailedError] = []
        self.ids: list[str] = []
        self.bodies: list[Any] = []
        self.meanwhile: Callable[[], Awaitable[object]] = noop

    async def ask(self, webhook_id: str, body: bytes) -> HookAnswer:
        self.ids.append(webhook_id)
        self.bodies.append(msgspec.json.decode(body))
        await self.meanwhile()
        answer = self.answers.pop(0)
        if isinstance(answer, HookFailedError):
            raise answer
        return answer


class World:
    """The image Lambda with a hook, and a post whose image has come."""

    def __init__(self) -> None:
        self.table, self.s3, self.clock = FakeTable(), FakeS3(), ManualClock()
        self.hook, self.renderer, self.waits = Hook(), FakeRenderer(), list[float]()
        comments = DynamoCommentStore(self.table, self.clock)
        self.posts = DynamoPostStore(self.table, self.clock)
        self.decisions = DynamoDecisionStore(self.table, self.clock, self.posts, comments)
        self.images = S3ImageStore(self.s3, Buckets("uploads", "images"))
        reviewer = HookReviewer(self.posts, self.hook, self.clock, lambda id_: f"https://s3/{id_}")
        matcher = BlockedImages(lambda: HashList([]), self.decisions)
        publisher = ImagePublisher(
            self.posts,
            self.images,
            self.renderer,
            Screening(matcher, self.clock, ReviewMode.HOOK),
            ImmediateReviews(reviewer, self._sleep),
        )
        self.work = StoredImagePublisher(
            self.posts,
            self.images,
            publisher,
            DynamoFailureCounter(self.table),
            DynamoAccountStore(self.table, self.clock, comments).standing,
            self.clock,
        )

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def arrived(self) -> str:
        post = a_post()
        await self.posts.add(post)
        self.s3.keep(f"originals/{post.id}", b"image")
        return post.id

    async def publish(self, *answers: HookAnswer | HookFailedError) -> Post:
        """A post whose image work is done, with these answers of the hook."""
        self.hook.answers += answers
        post_id = await self.arrived()
        status = await self.work.publish(post_id)
        post = await self.post(post_id)
        assert post.status is status
        return post

    async def post(self, post_id: str) -> Post:
        stored = await self.posts.find(post_id)
        assert stored is not None
        return stored.post

    def places(self, post_id: str) -> tuple[int, int]:
        """The numbers of public and of withheld renditions."""
        public, withheld = (
            sum(key.startswith(f"{folder}/{post_id}/") for key in self.s3.objects)
            for folder in ("images", "withheld")
        )
        return public, withheld


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world() -> World:
    return World()


async def test_the_hook_publishes_an_image_that_was_withheld_until_then(world: World) -> None:
    places = list[tuple[int, int]]()

    async def look() -> None:
        places.append(world.places(world.hook.ids[-1].removeprefix("review_")))

    world.hook.meanwhile = look
    post = await world.publish(HookAnswer("publish"))
    assert post.status is PostStatus.READY
    assert post.image is not None
    assert places == [(0, len(RENDITIONS))]
    assert world.places(post.id) == (len(RENDITIONS), 0)
    assert world.hook.ids == [f"review_{post.id}"]
    (event,) = world.hook.bodies
    assert event["type"] == "post.review"
    assert (event["data"]["id"], event["data"]["status"]) == (post.id, "processing")
    assert event["data"]["image_url"] == f"https://s3/{post.id}"
    assert world.waits == []


async def test_a_rejected_image_fails_with_a_logged_decision(world: World) -> None:
    post = await world.publish(HookAnswer("reject", "a logo"))
    assert post.status is PostStatus.FAILED
    assert isinstance(post.failure, Failure)
    assert post.failure.code == "image_rejected"
    assert world.places(post.id) == (0, len(RENDITIONS))
    (decision,) = (await world.decisions.log(limit=10, after=None)).items
    assert (decision.by, decision.action, decision.post_id) == (THE_SERVICE, Action.REJECT, post.id)
    assert (decision.reason, decision.text) == ("image_rejected", "a logo")


async def test_an_image_that_the_hook_leaves_to_admins_is_in_the_queue(world: World) -> None:
    post = await world.publish(HookAnswer("review"))
    assert post.status is PostStatus.IN_REVIEW
    assert world.places(post.id) == (0, len(RENDITIONS))
    (entry,) = (await world.decisions.queue(limit=10, after=None)).items
    assert (entry.kind, entry.subject.post_id) == (EntryKind.REVIEW, post.id)


async def test_a_failed_try_is_repeated_with_the_same_id(world: World) -> None:
    long = HookAnswer("reject", "x" * 2000)  # a reason that cannot be stored is a failed try too
    post = await world.publish(HANGS, long, HookAnswer("publish"))
    assert post.status is PostStatus.READY
    assert world.waits == [5, 30]
    assert world.hook.ids == [f"review_{post.id}"] * 3


async def test_after_three_failed_tries_admins_review_the_image(world: World) -> None:
    post = await world.publish(HANGS, HANGS, HANGS)
    assert post.status is PostStatus.IN_REVIEW
    assert world.waits == [5, 30]
    assert world.places(post.id) == (0, len(RENDITIONS))
    (entry,) = (await world.decisions.queue(limit=10, after=None)).items
    assert entry.kind is EntryKind.REVIEW


async def test_a_post_that_is_deleted_while_the_hook_decides_leaves_no_file(world: World) -> None:
    async def delete() -> None:
        await world.posts.remove(post_id, ALICE)
        await world.images.remove(post_id)

    world.hook.meanwhile = delete
    world.hook.answers = [HANGS]
    post_id = await world.arrived()
    assert await world.work.publish(post_id) is None
    assert len(world.hook.ids) == 1, "a deleted post is not tried again"
    assert world.places(post_id) == (0, 0)


async def test_a_crash_while_the_hook_decides_repeats_the_question(world: World) -> None:
    class TimeOutError(BaseException):
        """Lambda ends the process."""

    async def crash() -> None:
        world.hook.meanwhile = noop
        raise TimeOutError

    world.hook.meanwhile = crash
    world.hook.answers = [HookAnswer("publish")]
    post_id = await world.arrived()
    with pytest.raises(TimeOutError):
        await world.work.publish(post_id)
    assert (await world.post(post_id)).status is PostStatus.PROCESSING
    assert await world.work.publish(post_id) is PostStatus.READY
    assert world.hook.ids == [f"review_{post_id}"] * 2
    assert world.places(post_id) == (len(RENDITIONS), 0)


async def test_a_crash_between_decision_and_publication_is_repaired_by_the_next_event(
    world: World,
) -> None:
    post_id = await world.arrived()
    for name in RENDITIONS:
        world.s3.keep(f"withheld/{post_id}/{name}.jpg", b"jpeg")
    await world.posts.update(post_id, lambda post: published_post(post, RENDERED))
    assert await world.work.publish(post_id) is PostStatus.READY
    assert world.places(post_id) == (len(RENDITIONS), 0)
    assert world.renderer.rendered == 0


async def test_an_event_that_comes_twice_at_once_leaves_the_image_public(world: World) -> None:
    """The slower work takes the renditions back, after the quicker one has published them."""
    world.hook.answers = [HookAnswer("publish")]
    post_id = await world.arrived()

    async def overtake() -> None:
        world.renderer.during = noop
        assert await world.work.publish(post_id) is PostStatus.READY

    world.renderer.during = overtake
    assert await world.work.publish(post_id) is PostStatus.READY
    assert world.places(post_id) == (len(RENDITIONS), 0)
    assert len(world.hook.ids) == 1


def test_the_hook_gets_the_post_as_the_api_shows_it() -> None:
    stored = new_stored_post(msgspec.structs.replace(a_post(), caption='a "quote"'))
    shown = msgspec.json.decode(post_body(stored))
    assert msgspec.json.decode(reviewed_post(stored, URL)) == {**shown, "image_url": URL}


def test_the_url_of_the_image_is_signed_for_ten_minutes() -> None:
    session = Session()
    session.set_credentials("key", "secret")
    client = session.create_client("s3", region_name="eu-central-1")
    images = S3ImageStore(client, Buckets("uploads", "images"))
    url = urlsplit(images.review_url("01K", RENDITION_SMALL))
    assert url.path.endswith("withheld/01K/600.jpg")
    (seconds,) = parse_qs(url.query).get("X-Amz-Expires", ["0"])
    assert int(seconds) * 1000 == IMAGE_URL_MS


def test_a_hook_has_a_url_and_a_secret() -> None:
    settings = read_settings(HOOK)
    assert (settings.review, settings.review_url) == ("hook", URL)
    assert read_settings({**HOOK, "IMAGE_POSTER_REVIEW_URL": "http://127.0.0.1:9/"}).review_url


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REVIEW", "some", "must be off, all or hook, not 'some'"),
        ("REVIEW_URL", "", "REVIEW=hook needs IMAGE_POSTER_REVIEW_URL"),
        ("REVIEW_URL", "http://review.example/", "https, or http on the loopback interface"),
        ("WEBHOOK_SECRET", "", "REVIEW=hook needs IMAGE_POSTER_WEBHOOK_SECRET"),
    ],
)
def test_a_wrong_setting_of_the_hook_stops_the_start(name: str, value: str, said: str) -> None:
    with pytest.raises(StartError, match=said):
        read_settings({**HOOK, f"IMAGE_POSTER_{name}": value})


@pytest.mark.parametrize("text", ["whsec_YWJj", "YWJj"])
def test_the_secret_may_have_its_prefix(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = list[tuple[str, tuple[bytes, ...]]]()
    monkeypatch.setattr(
        container, "HttpReviewHook", lambda url, secrets: hooks.append((url, secrets()))
    )
    monkeypatch.setattr(container, "secret", {"arn:of:secret": text}.get)
    aws = AwsContainer(read_settings(HOOK))
    vars(aws)["table"] = FakeTable()
    assert container.hook_reviews(aws) is not None
    assert hooks == [(URL, (b"abc",))]


def test_a_secret_that_is_no_base64_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "secret", {"arn:of:secret": "no secret!"}.get)
    with pytest.raises(StartError, match="must be Base64"):
        container.hook_reviews(AwsContainer(read_settings(HOOK)))


def test_without_a_hook_there_is_no_secret_to_read() -> None:
    assert container.hook_reviews(AwsContainer(AwsSettings())) is None
