"""Walks over `top` beside writers: no post is repeated, none is missed (docs/feed.md).

Few of both here; `make walks` runs 1,000 walks beside 64 writers (`WALKS`, `WRITERS`).
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from support.api import Api, someone

WALKS, WRITERS = int(os.environ.get("WALKS", "6")), int(os.environ.get("WRITERS", "4"))
WALKERS = min(WALKS, 8)
POSTS = 16
Write = Callable[[httpx.Client, random.Random], None]


@pytest.fixture(scope="module")
def creator(api: Api) -> str:
    """Whose posts are written to: some more and some less commented."""
    name = someone("walker")
    for number in range(POSTS):
        post = api.ready(name)
        for _ in range(number % 3):
            api.comment(post["id"], someone())
    return name


class Writers:
    """Comments on posts, most of them on few; takes some back, so that ranks go down too;
    publishes and deletes posts."""

    def __init__(self, api: Api, creator: str) -> None:
        self.api, self.creator = api, creator
        self.stable = [post["id"] for post in api.feed(creator=creator, limit=100)["posts"]]
        self.failures: list[str] = []
        self._stop = threading.Event()

    def run(self, seed: int) -> None:
        """Until told to stop."""
        chance = random.Random(seed)
        with httpx.Client(base_url=self.api.url, timeout=60) as http:
            while not self._stop.is_set():
                kind = chance.choices((self._comment, self._take_back), (3, 2))[0]
                kind(http, chance)
                if seed == 0 and chance.random() < 0.05:
                    self._come_and_go()

    def stop(self) -> None:
        self._stop.set()

    def _comment(self, http: httpx.Client, chance: random.Random) -> str:
        post_id = self.stable[min(int(chance.paretovariate(0.6)), len(self.stable)) - 1]
        path = f"/posts/{post_id}/comments"
        answer = http.post(path, json={"content": "up"}, headers={"user-id": "writer"})
        if answer.status_code != 201:
            self.failures.append(answer.text)
        return str(answer.headers.get("location", path))

    def _take_back(self, http: httpx.Client, chance: random.Random) -> None:
        http.delete(self._comment(http, chance), headers={"user-id": "writer"})

    def _come_and_go(self) -> None:
        """A post that is published and deleted while others walk."""
        post = self.api.ready(self.creator)
        self.api.send("DELETE", f"/posts/{post['id']}", self.creator)


@contextmanager
def writing(writers: Writers) -> Iterator[None]:
    threads = [threading.Thread(target=writers.run, args=(seed,)) for seed in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        writers.stop()
        for thread in threads:
            thread.join()


def walk(http: httpx.Client, **question: str | int) -> list[str]:
    """The ids that a whole walk shows, by the `Link` of each page."""
    ids: list[str] = []
    answer = http.get("/posts", params=question)
    while True:
        assert answer.status_code == 200, answer.text
        ids += [post["id"] for post in answer.json()["posts"]]
        if answer.json()["next"] is None:
            return ids
        link = answer.headers["link"]
        answer = http.get(link.partition(">")[0].removeprefix("<"))


def test_walks_beside_writers_repeat_nothing_and_miss_nothing(api: Api, creator: str) -> None:
    """Of one creator, and of all; each with a limit of its own."""
    writers = Writers(api, creator)

    def walk_once(number: int) -> tuple[int, int]:
        chance = random.Random(number)
        question: dict[str, str | int] = {"limit": chance.choice((1, 3, 5, 7)), "comments": 0}
        if number % 3:
            question["creator"] = creator
        else:
            question["limit"] = 20
        with httpx.Client(base_url=api.url, timeout=60) as http:
            ids = walk(http, **question)
        return len(ids) - len(set(ids)), len(set(writers.stable) - set(ids))

    with writing(writers), ThreadPoolExecutor(WALKERS) as walkers:
        outcomes = list(walkers.map(walk_once, range(WALKS)))
    repeated, missed = (sum(counts) for counts in zip(*outcomes, strict=True))
    print(  # noqa: T201 - what `make walks` is asked for
        f"{WALKS} walks beside {WRITERS} writers: {repeated} repeated, {missed} missed"
    )
    assert (repeated, missed) == (0, 0)
    assert writers.failures == []


def test_a_page_is_not_modified_while_only_its_cursor_would_be(api: Api) -> None:
    """The ETag is weak and of the posts shown; the cursor tells when a page was made."""
    creator = someone()  # without comments, whose counts may come late
    for _ in range(2):
        api.ready(creator)
    question = {"creator": creator, "limit": 100, "sort": "new"}
    first = api.get("/posts", params=question)
    assert first.headers["etag"].startswith('W/"')
    condition = {"if-none-match": first.headers["etag"]}
    other = api.ready(someone())
    api.comment(other["id"], someone())  # the store has changed, the page has not
    assert api.get("/posts", params=question, headers=condition).status_code == 304
    api.ready(creator)
    api.eventually(lambda: api.get("/posts", params=question, headers=condition).status_code, 200)


def test_a_new_post_behind_the_last_one_shown_is_told_though_the_page_stays(api: Api) -> None:
    """`next` was null and is no longer."""
    alice = someone("alice")
    first = api.ready(alice)
    api.comment(first["id"], someone())
    question = {"creator": alice, "limit": 1}
    api.eventually(
        lambda: api.get("/posts", params=question).json()["posts"][0]["total_comments"], 1
    )
    condition = {"if-none-match": api.get("/posts", params=question).headers["etag"]}
    assert api.get("/posts", params=question, headers=condition).status_code == 304
    api.ready(alice)
    repeated = api.get("/posts", params=question, headers=condition)
    assert repeated.json()["posts"][0]["id"] == first["id"]
    assert repeated.json()["next"] is not None


def test_latest_comments_are_as_many_as_fit(api: Api) -> None:
    """Of the longest comments there is room for two, of short ones for ten."""
    post, bob = api.ready(someone("alice")), someone("bob")
    for _ in range(3):
        api.comment(post["id"], bob, "\N{SNOWMAN}" * 2000)
    api.eventually(lambda: api.total(post["id"]), 3)
    assert len(api.latest(post["id"])) == 2
    limits = api.get("/limits").json()["page"]
    assert limits["latest_comments_max_bytes"] == 16 * 1024
    for _ in range(10):
        api.comment(post["id"], bob, "short")
    api.eventually(lambda: api.total(post["id"]), 13)
    assert {comment["content"] for comment in api.latest(post["id"])} == {"short"}
    assert len(api.latest(post["id"])) == limits["latest_comments_max"]
