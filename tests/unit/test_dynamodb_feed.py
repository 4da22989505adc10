"""Pages of the feed on AWS that would be too large for a Lambda's answer."""

import pytest

from contract.ports.suite import a_post
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.feed import DynamoFeedReader
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import post_key
from image_poster.domain.feed import FeedQuery, FeedSort
from image_poster.domain.posts import published_post
from support.dynamodb import FakeTable
from support.renderer import RENDERED

pytestmark = pytest.mark.anyio
LATEST = (
    "x" * 85_000
)  # ten comments of 2,000 characters of four bytes each, and what is around them


@pytest.mark.parametrize("shards", [1, 5])
async def test_large_posts_come_in_smaller_pages_and_none_is_left_out(shards: int) -> None:
    table, ids = FakeTable(), list[str]()
    posts = DynamoPostStore(table, ManualClock(), shards=shards)
    for _ in range(60):
        post = a_post()
        ids.append(post.id)
        await posts.add(post)
        await posts.update(post.id, lambda current: published_post(current, RENDERED))
        table.items[post_key(post.id)]["latest"] = LATEST
    feed = DynamoFeedReader(table, shards=shards)
    walked, after = list[str](), None
    while True:
        page = await feed.page(FeedQuery(epoch=1000, sort=FeedSort.NEW, limit=100, after=after))
        assert sum(len(post.head) + len(post.latest) for post in page.items) < 2_000_000
        walked += [post.id for post in page.items]
        after = page.next
        if after is None:
            break
    assert walked == sorted(ids, reverse=True)
