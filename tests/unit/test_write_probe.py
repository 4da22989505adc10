"""`/readyz` on AWS: 503 when a comment would be refused."""

import pytest
from botocore.exceptions import ClientError

from contract.ports.suite import a_comment, a_post
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.boto import DynamoWriteProbe
from image_poster.adapters.dynamodb.comments import DynamoCommentStore
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.domain.errors import BusyError, NotReadyError
from image_poster.domain.posts import published_post
from support.dynamodb import FakeTable
from support.renderer import RENDERED

pytestmark = pytest.mark.anyio
DENIED = ClientError({"Error": {"Code": "AccessDeniedException"}}, "UpdateItem")


class Clock:
    """Seconds, moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("trouble", [BusyError(), DENIED], ids=["throttled", "denied"])
async def test_it_is_ready_exactly_when_a_comment_is_taken(trouble: Exception) -> None:
    table, clock, seconds = FakeTable(), ManualClock(), Clock()
    posts, comments = DynamoPostStore(table, clock), DynamoCommentStore(table, clock)
    probe, post = DynamoWriteProbe(table, seconds), a_post()
    await posts.add(post)
    await posts.update(post.id, lambda current: published_post(current, RENDERED))
    await comments.add(a_comment(post.id))
    await probe.check()

    def fails() -> None:
        raise trouble

    table.around = fails  # its reads go on
    seconds.now += 1
    with pytest.raises(type(trouble)):
        await comments.add(a_comment(post.id))
    with pytest.raises(NotReadyError):
        await probe.check()
    table.around = lambda: None
    seconds.now += 1
    await probe.check()
    await comments.add(a_comment(post.id))


async def test_all_who_ask_within_a_second_share_one_write_and_what_came_of_it() -> None:
    table, seconds = FakeTable(), Clock()
    probe = DynamoWriteProbe(table, seconds)
    for _ in range(9):
        await probe.check()
    assert table.calls["write"] == 1
    seconds.now += 1
    await probe.check()
    assert table.calls["write"] == 2
