"""The AWS edition: the feed at any length, and the number of transactions that count comments.

DynamoDB is `dynalite` (npm) here, because it has real indexes. ministack sorts a whole index for
each query, so a line measured with it would measure that.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pillow_heif
import pyvips
from botocore.config import Config
from botocore.session import Session
from PIL import Image as PillowImage

import servers
from aws_local.emulator import CREDENTIALS, REGION, running_emulator
from bench_images import peak_and_idle_bytes
from contract.ports.suite import a_comment, a_post
from fakes.clock import ManualClock
from image_poster.adapters.dynamodb.boto import BotoTable
from image_poster.adapters.dynamodb.comments import DynamoCommentCounter, DynamoCommentStore
from image_poster.adapters.dynamodb.database import MAX_IN_BATCH_WRITE, Item, encoded_item
from image_poster.adapters.dynamodb.feed import DynamoFeedReader
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.adapters.dynamodb.schema import post_item, post_key, rank_key
from image_poster.domain.feed import CurrentRank, FeedQuery, FeedSort
from image_poster.domain.posts import published_post
from report import Found, Line, Skipped
from sizes import AwsScale, Scale
from support.dynamodb import FakeTable
from support.peers import why_not
from support.renderer import RENDERED
from support.tables import table_properties

MAX_COMMENTS_OF_A_POST = 97
LAMBDA_MB = 3008  # as in the template
IDLE_LAMBDA_BYTES = 100 * 1024 * 1024  # the Lambda's own process, generously


def lines(folder: Path, scale: Scale) -> Iterator[Found]:
    """All comparisons of the AWS edition."""
    aws = scale.aws
    if why_not():
        yield Skipped(1, f"no feed on dynalite: {why_not()}")
    else:
        with servers.dynalite() as (url, _process):
            yield _feed("feed on DynamoDB (dynalite)", url, aws.dynalite_posts, 1.3, aws)
    with running_emulator() as emulator:
        yield _feed("feed on DynamoDB (ministack)", emulator.url, aws.ministack_posts, None, aws)
    done = asyncio.run(_transactions(aws))
    yield Line(
        f"transactions for {aws.comments:,} comments on one post / {aws.max_transactions}",
        done / aws.max_transactions,
        1,
        "<=",
        f"{done} of at most 100 items",
    )
    yield _largest_images(folder, aws.side)


def _feed(name: str, url: str, many: int, target: float | None, aws: AwsScale) -> Line:
    with ExitStack() as stack:
        client = Session().create_client(
            "dynamodb",
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            config=Config(read_timeout=300),
        )
        stack.callback(client.close)
        short, long = (_feed_of(client, posts) for posts in (aws.few_posts, many))
        few, lots = list[float](), list[float]()
        for _ in range(aws.rounds):
            few.append(asyncio.run(_page_ms(short, aws.pages)))
            lots.append(asyncio.run(_page_ms(long, aws.pages)))
    ours, base = statistics.median(lots), statistics.median(few)
    named = f"{name}: {many:,} posts / {aws.few_posts:,}"
    return Line(named, ours / base, target, "<=", f"{ours:.1f} / {base:.1f} ms a page of ten")


def _feed_of(client: Any, posts: int) -> DynamoFeedReader:
    name = f"posts-{posts}"
    properties = {**table_properties()}
    properties.pop("StreamSpecification")
    client.create_table(TableName=name, **properties)
    client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    items = [{"PutRequest": {"Item": encoded_item(_item(number))}} for number in range(posts)]
    for at in range(0, posts, MAX_IN_BATCH_WRITE):
        client.batch_write_item(RequestItems={name: items[at : at + MAX_IN_BATCH_WRITE]})
    return DynamoFeedReader(BotoTable(client, name))


def _item(number: int) -> Item:
    post = published_post(a_post(), RENDERED)
    total = number % MAX_COMMENTS_OF_A_POST
    item = post_item(post, None, shards=1, request_id="", now_ms=0)
    return {**item, "total": total, "rank": rank_key(post.id, CurrentRank(total))}


async def _page_ms(feed: DynamoFeedReader, pages: int) -> float:
    """The median of some pages, one after the other."""
    took, after = list[float](), None
    for _ in range(pages):
        began = time.perf_counter()
        page = await feed.page(FeedQuery(epoch=1000, sort=FeedSort.TOP, limit=10, after=after))
        took.append((time.perf_counter() - began) * 1000)
        after = page.next
    return statistics.median(took)


def _largest_images(folder: Path, side: int) -> Line:
    """The formats whose decoders need the whole image at once, at the most pixels that are
    taken."""
    plain = pyvips.Image.perlin(side, side, cell_size=200, uchar=True)
    image = plain.bandjoin([plain, plain]).copy(interpretation="srgb").copy_memory()
    image.heifsave(str(folder / "avif"), compression="av1", effort=0)
    image.pngsave(str(folder / "interlaced png"), compression=1, interlace=True)
    image.jpegsave(str(folder / "progressive jpeg"), interlace=True)
    pixels = PillowImage.frombytes("RGB", (side, side), image.write_to_memory())
    pillow_heif.from_pillow(pixels).save(folder / "heic", quality=50)
    files = ["avif", "heic", "interlaced png", "progressive jpeg"]
    peaks = {name: asyncio.run(_peak_mb(folder / name, folder)) for name in files}
    worst = max(peaks, key=lambda name: peaks[name])
    return Line(
        f"memory for {side * side / 1e6:g} megapixels, worst format / the image Lambda's",
        peaks[worst] / LAMBDA_MB,
        1,
        "<=",
        ", ".join(f"{name} {peak:.0f}" for name, peak in peaks.items()) + f" of {LAMBDA_MB} MB",
    )


async def _peak_mb(original: Path, folder: Path) -> float:
    """Of the image's process, the template that it was forked from, and the one that asks."""
    peak, template = await peak_and_idle_bytes(original, folder)
    return (peak + template + IDLE_LAMBDA_BYTES) / 1024 / 1024


async def _transactions(aws: AwsScale) -> int:
    """Count the transactions of the projection, on the table in memory."""
    table, clock = FakeTable(), ManualClock()
    posts, comments = DynamoPostStore(table, clock), DynamoCommentStore(table, clock)
    post = a_post()
    await posts.add(post)
    await posts.update(post.id, lambda current: published_post(current, RENDERED))
    batch_comments = [a_comment(post.id) for _ in range(aws.comments)]
    for comment in batch_comments:
        await comments.add(comment)
    counter = DynamoCommentCounter(table, clock)
    for at in range(0, aws.comments, aws.batch):
        await counter.count(
            post.id, [comment.id for comment in batch_comments[at : at + aws.batch]]
        )
    assert table.items[post_key(post.id)]["total"] == aws.comments
    return table.calls["transact"]
