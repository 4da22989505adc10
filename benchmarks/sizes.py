"""The sizes of each benchmark: `FULL` for figures that mean something, `SMOKE` to see that all of
them still run. The code is the same."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FeedScale:
    """Two databases, which pages of them are asked for, and for how many seconds each time. The
    last number is that of comments a second beside them."""

    posts: int
    comments: int
    few_posts: int
    few_comments: int
    pages: int
    deep_page: int
    seconds: float
    rounds: int
    comments_meanwhile: int


@dataclass(frozen=True)
class WalksScale:
    """Posts and comments that are there, how many ranks have moved in the last hour, and how many
    pages of a walk are looked at."""

    posts: int
    comments: int
    changes: int
    pages: int


@dataclass(frozen=True)
class CommentsScale:
    """Posts and comments that are there before, and how long comments are added to them."""

    posts: int
    comments: int
    hot_comments: int
    clients: int
    seconds: float
    rounds: int


@dataclass(frozen=True)
class ImagesScale:
    """A photograph's width and height in pixels, and its number of posts; the same of a phone's.
    The last numbers are those of processes without an image, and of images with and without a
    hash."""

    width: int
    height: int
    runs: int
    feed_seconds: float
    phone_width: int
    phone_height: int
    phone_images: int
    children: int
    hashes: int


@dataclass(frozen=True)
class UploadsScale:
    """Sizes in bytes. Connections are cut after `mean_cuts` (exponential, a weather a seed), and
    after exactly `cut`. `killed_at` is the share that has been sent when the server is killed, of
    1."""

    size: int
    large: int
    seeds: int
    mean_cuts: tuple[int, int, int]
    cut: int
    killed_at: tuple[float, ...]
    rounds: int


@dataclass(frozen=True)
class DataFolderScale:
    """Uploads that wait at a start, how often it starts, images that are backed up, and how long
    the feed is read meanwhile."""

    waiting: int
    starts: int
    images: int
    feed_seconds: float


@dataclass(frozen=True)
class AwsScale:
    """Posts in the three feeds, comments that are counted, and the largest image's side in pixels.

    `max_transactions` is what those comments may take: they come in batches of `batch`, as the
    template's event-source mapping gives them.
    """

    few_posts: int
    dynalite_posts: int
    ministack_posts: int
    pages: int
    rounds: int
    comments: int
    batch: int
    max_transactions: int
    side: int


@dataclass(frozen=True)
class GalleryScale:
    """The number of posts in the scroll, and the side in pixels of the image that is uploaded
    (three bytes a pixel). The last number is the mean of bytes before a connection is cut."""

    posts: int
    side: int
    cut: int


@dataclass(frozen=True)
class MixedScale:
    """The stored posts and comments, a photograph's sides in pixels, and the seconds of a rate. The
    trials have their own seconds, number and distance, and each is repeated up to `tries` times.
    `plot`: draw them."""

    posts: int
    comments: int
    width: int
    height: int
    seconds: float
    step_seconds: float
    steps: int
    factor: float
    tries: int
    plot: bool


@dataclass(frozen=True)
class PostingScale:
    """Sides in pixels of a small and a large photograph, and the posts of each beside the peer.
    Then the posts in all and the number of clients; the number of waiting clients, and their
    seconds."""

    small: tuple[int, int]
    large: tuple[int, int]
    rounds: int
    small_posts: int
    large_posts: int
    clients: int
    waiters: int
    wait_seconds: float


@dataclass(frozen=True)
class Scale:
    """All of them; `warm_up_seconds` go before each measured load."""

    warm_up_seconds: float
    feed: FeedScale
    walks: WalksScale
    comments: CommentsScale
    images: ImagesScale
    uploads: UploadsScale
    data_folder: DataFolderScale
    aws: AwsScale
    gallery: GalleryScale
    mixed: MixedScale
    posting: PostingScale


FULL = Scale(
    warm_up_seconds=1.0,
    feed=FeedScale(
        posts=100_000,
        comments=1_000_000,
        few_posts=4_000,
        few_comments=10_000,
        pages=300,  # more than the server remembers
        deep_page=500,
        seconds=3,
        rounds=3,
        comments_meanwhile=100,
    ),
    walks=WalksScale(posts=100_000, comments=1_000_000, changes=20_000, pages=500),
    comments=CommentsScale(
        posts=1000, comments=10_000, hot_comments=100_000, clients=64, seconds=4, rounds=3
    ),
    images=ImagesScale(
        width=6000,
        height=4000,
        runs=10,
        feed_seconds=10,
        phone_width=4000,
        phone_height=3000,
        phone_images=100,
        children=200,
        hashes=25,
    ),
    uploads=UploadsScale(
        size=20_000_000,
        large=100_000_000,
        seeds=5,
        mean_cuts=(5_000_000, 1_000_000, 500_000),
        cut=5_000_000,
        killed_at=(0.2, 0.35, 0.5, 0.65, 0.8),
        rounds=5,
    ),
    data_folder=DataFolderScale(waiting=100_000, starts=5, images=10_000, feed_seconds=3),
    aws=AwsScale(
        few_posts=1_000,
        dynalite_posts=50_000,
        ministack_posts=10_000,
        pages=20,
        rounds=5,
        comments=10_000,
        batch=990,
        max_transactions=150,
        side=10_000,
    ),
    gallery=GalleryScale(posts=1_000, side=2_000, cut=1_000_000),
    mixed=MixedScale(
        posts=100_000,
        comments=1_000_000,
        width=1600,
        height=1200,
        seconds=30,
        step_seconds=6,
        steps=20,
        factor=1.25,
        tries=3,
        plot=True,
    ),
    posting=PostingScale(
        small=(1280, 960),
        large=(4000, 3000),
        rounds=25,
        small_posts=400,
        large_posts=150,
        clients=8,
        waiters=500,
        wait_seconds=20,
    ),
)

SMOKE = Scale(
    warm_up_seconds=0.2,
    feed=FeedScale(
        posts=600,
        comments=3_000,
        few_posts=300,
        few_comments=500,
        pages=20,
        deep_page=30,
        seconds=0.8,
        rounds=1,
        comments_meanwhile=20,
    ),
    walks=WalksScale(posts=600, comments=3_000, changes=500, pages=20),
    comments=CommentsScale(
        posts=100, comments=500, hot_comments=1_000, clients=64, seconds=0.8, rounds=1
    ),
    images=ImagesScale(
        width=1500,
        height=1000,
        runs=1,
        feed_seconds=0.8,
        phone_width=800,
        phone_height=600,
        phone_images=2,
        children=20,
        hashes=2,
    ),
    uploads=UploadsScale(
        size=4_000_000,
        large=20_000_000,
        seeds=1,
        mean_cuts=(3_000_000, 2_000_000, 1_000_000),
        cut=2_000_000,
        killed_at=(0.5,),
        rounds=1,
    ),
    data_folder=DataFolderScale(waiting=200, starts=1, images=50, feed_seconds=0.8),
    aws=AwsScale(
        few_posts=50,
        dynalite_posts=200,
        ministack_posts=100,
        pages=4,
        rounds=1,
        comments=500,
        batch=50,
        max_transactions=15,
        side=800,
    ),
    gallery=GalleryScale(posts=40, side=700, cut=500_000),
    mixed=MixedScale(
        posts=600,
        comments=3_000,
        width=800,
        height=600,
        seconds=0.5,
        step_seconds=0.5,
        steps=2,
        factor=1.25,
        tries=1,
        plot=False,
    ),
    posting=PostingScale(
        small=(320, 240),
        large=(800, 600),
        rounds=1,
        small_posts=4,
        large_posts=4,
        clients=2,
        waiters=50,
        wait_seconds=0.8,
    ),
)
