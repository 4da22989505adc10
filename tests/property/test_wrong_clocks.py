"""Whatever the wall clock does between writes and restarts, the order stays, walks are true, and no
upload expires too early. Through the services and the real stores of one machine."""

import asyncio
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contract.ports.suite import ALICE, BOB
from image_poster.adapters.clock import ServiceClock
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import SqliteFeedReader
from image_poster.adapters.sqlite.maintenance import greatest_time, greatest_time_of_comments
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.adapters.sqlite.uploads import SqliteUploadRecordStore
from image_poster.domain.errors import UploadGoneError
from image_poster.domain.feed import EPOCH_MS, PAST_EPOCHS, FeedSort
from image_poster.domain.ids import EARLIEST_MS
from image_poster.domain.limits import LATEST_KEPT, UPLOAD_KEPT_MS
from image_poster.domain.posts import PostStatus, PostTexts, new_post, published_post
from image_poster.domain.uploads import UploadOrder
from image_poster.editions.local.background import TimeKeeper
from image_poster.services import Services
from support.renderer import RENDERED
from support.services import services

YEAR_MS = 365 * 24 * 3600 * 1000
POSTS = st.integers(0, 4)
TIME_1970 = 60_000
RIGHT_TIME = 1_780_000_000_000


@dataclass
class Machine:
    """Its clocks, as the kernel has them."""

    wall_ms: int = RIGHT_TIME
    up_ms: int = 60_000

    def pass_time(self, milliseconds: int) -> None:
        self.wall_ms += milliseconds
        self.up_ms += milliseconds


@dataclass
class Walk:
    """One reader's way through `top`."""

    there: set[str]
    shown: list[str] = field(default_factory=list)
    cursor: str | None = None


class WrongClocks(RuleBasedStateMachine):
    """A service with five posts, on a machine whose wall clock is set again and again."""

    clock: ServiceClock
    database: Database
    services: Services
    keeper: TimeKeeper

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.machine = Machine()
        self.posts: list[str] = []
        self.comments: dict[str, list[str]] = {}
        self.uploads: dict[str, int] = {}
        self.walk: Walk | None = None
        self.newest = ""

    @initialize(wall_ms=st.sampled_from([TIME_1970, RIGHT_TIME, RIGHT_TIME + YEAR_MS]))
    def start(self, wall_ms: int) -> None:
        self.machine.wall_ms = wall_ms
        self.runner.run(self._open())
        for _ in range(5):
            self.runner.run(self._publish())

    async def _open(self) -> None:
        """As `serve` does."""
        self.database = Database(Path(self.folder.name, "clock.db"))
        machine = self.machine
        self.clock = ServiceClock(
            wall_ms=lambda: machine.wall_ms, monotonic_ms=lambda: machine.up_ms
        )
        times = greatest_time(self.database), greatest_time_of_comments(self.database)
        self.clock.raise_to(max(times) + 1)
        records = SqliteUploadRecordStore(self.database)
        self.keeper = TimeKeeper(self.clock, self.database, records)
        self.services = services(
            clock=self.clock,
            posts=SqlitePostStore(self.database, self.clock),
            comments=SqliteCommentStore(self.database, self.clock),
            feed=SqliteFeedReader(self.database),
            upload_records=records,
        )

    async def _publish(self) -> None:
        post_id = self.clock.new_id()
        now = self.clock.now_ms()
        post = new_post(post_id, PostStatus.PROCESSING, ALICE, PostTexts(), now)
        await self.services.stores.posts.add(post)
        await self.services.stores.posts.update(
            post_id, lambda current: published_post(current, RENDERED)
        )
        self._answered(post_id)
        self.posts.append(post_id)
        self.comments[post_id] = []

    def _answered(self, new_id: str) -> None:
        assert new_id > self.newest
        self.newest = new_id

    @rule(number=POSTS)
    def comment(self, number: int) -> None:
        post_id = self.posts[number]
        answer = self.runner.run(self.services.comments.add(post_id, BOB, "a comment"))
        self._answered(answer.resource)
        self.comments[post_id].append(answer.resource)

    @rule()
    def reserve(self) -> None:
        answer, _ = self.runner.run(
            self.services.uploads.reserve_by_tus(ALICE, UploadOrder(10), None)
        )
        self._answered(answer.resource)
        self.uploads[answer.resource] = self.machine.up_ms

    @rule(milliseconds=st.sampled_from([1, 800, 7_000, 60_000, 5 * 3600_000]))
    def wait(self, milliseconds: int) -> None:
        if milliseconds > 60_000:
            self.walk = None  # its cursor gets too old
        self.machine.pass_time(milliseconds)
        self.runner.run(self.keeper.check())

    @rule(by_ms=st.sampled_from([-3_000, -YEAR_MS, YEAR_MS, 2 * 24 * 3600_000, -40_000]))
    def set_wall_clock(self, by_ms: int) -> None:
        self.machine.wall_ms = max(TIME_1970, self.machine.wall_ms + by_ms)
        self.runner.run(self.keeper.check())

    @precondition(lambda self: self.machine.wall_ms > YEAR_MS)
    @rule()
    def boot_without_a_clock(self) -> None:
        """It shows 1970 until it is set; the service is started before that."""
        self._restart(TIME_1970)

    @rule()
    def restart(self) -> None:
        self._restart(self.machine.wall_ms)

    def _restart(self, wall_ms: int) -> None:
        before_ms = self.clock.service_ms()
        self._stop()
        self.machine.wall_ms = wall_ms
        self.runner.run(self._open())
        step_ms = self.clock.service_ms() - before_ms
        if abs(step_ms) > PAST_EPOCHS * EPOCH_MS // 2:
            self.walk = None  # by the service clock its cursor is too old, or of the future
        if step_ms > UPLOAD_KEPT_MS and wall_ms < EARLIEST_MS:
            self.uploads.clear()  # between wrong clocks, a step looks like a stopped server

    @precondition(lambda self: self.walk is None)
    @rule()
    def begin_walk(self) -> None:
        self.walk = Walk(set(self.posts))
        self._page(self.walk)

    @precondition(lambda self: self.walk is not None)
    @rule()
    def next_page(self) -> None:
        assert self.walk is not None
        self._page(self.walk)

    def _page(self, walk: Walk) -> None:
        page = self.runner.run(
            self.services.feed.page(sort=FeedSort.TOP, limit=2, cursor=walk.cursor, creator=None)
        )
        walk.shown += [stored.id for stored in page.items]
        assert len(walk.shown) == len(set(walk.shown))
        walk.cursor = page.next
        if page.next is None:
            assert set(walk.shown) == walk.there
            self.walk = None

    @invariant()
    def comments_are_in_the_order_of_writing(self) -> None:
        for post_id, ids in self.comments.items():
            stored = self.runner.run(self.services.posts.get(post_id, None))
            latest = [msgspec.json.decode(doc)["id"] for doc in stored.latest_comments(10)]
            assert latest == ids[::-1][:LATEST_KEPT]
            page = self.runner.run(self.services.comments.list(post_id, limit=100, cursor=None))
            assert [msgspec.json.decode(doc)["id"] for doc in page.items] == ids[::-1][:100]

    @invariant()
    def no_upload_expires_before_its_time(self) -> None:
        for post_id, since in self.uploads.items():
            if self.machine.up_ms - since < UPLOAD_KEPT_MS:
                self.runner.run(self.services.uploads.state(post_id, ALICE))

    @rule()
    def two_days_later_no_upload_is_left(self) -> None:
        """A wall clock that was set while nobody served can give an upload one more day. In 1970,
        an upload of a right clock waits until the clock is set."""
        self.walk = None
        self._let_uploads_expire()
        if self.uploads and self.machine.wall_ms < EARLIEST_MS:
            self.set_wall_clock(RIGHT_TIME - self.machine.wall_ms)
            self._let_uploads_expire()
        assert not self.uploads

    def _let_uploads_expire(self) -> None:
        for _ in range(2):
            self.machine.pass_time(UPLOAD_KEPT_MS)
            self.runner.run(self.keeper.check())
            for post_id in list(self.uploads):
                with suppress(UploadGoneError):
                    self.runner.run(self.services.uploads.state(post_id, ALICE))
                    continue
                del self.uploads[post_id]

    def _stop(self) -> None:
        self.runner.run(self.database.close())

    def teardown(self) -> None:
        if self.posts:
            self._stop()
        self.runner.close()
        self.folder.cleanup()


WrongClocks.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestWrongClocks = WrongClocks.TestCase


def boot_without_a_clock_after_a_wrong_year(state: WrongClocks) -> None:
    """1970 cannot tell whether an upload of the wrong year has expired."""
    state.set_wall_clock(YEAR_MS)
    state.reserve()
    state.restart()
    state.reserve()
    state.boot_without_a_clock()


def boot_without_a_clock_after_a_corrected_year(state: WrongClocks) -> None:
    """The service clock stays a year ahead, and cannot tell either."""
    state.reserve()
    state.set_wall_clock(YEAR_MS)
    state.restart()
    state.reserve()
    state.set_wall_clock(-YEAR_MS)
    state.boot_without_a_clock()


def correct_the_year_while_nobody_serves(state: WrongClocks) -> None:
    """The wall clock cannot have set the expiry of the wrong year."""
    state.set_wall_clock(YEAR_MS)
    state.reserve()
    state.restart()
    state.reserve()
    state.machine.wall_ms -= YEAR_MS
    state.restart()


@pytest.mark.parametrize(
    "steps",
    [
        boot_without_a_clock_after_a_wrong_year,
        boot_without_a_clock_after_a_corrected_year,
        correct_the_year_while_nobody_serves,
    ],
)
def test_an_upload_lives_for_a_day_and_then_expires(steps: Callable[[WrongClocks], None]) -> None:
    state = WrongClocks()
    try:
        state.start(RIGHT_TIME)
        steps(state)
        state.no_upload_expires_before_its_time()
        assert len(state.uploads) == 2
        state.two_days_later_no_upload_is_left()
    finally:
        state.teardown()
