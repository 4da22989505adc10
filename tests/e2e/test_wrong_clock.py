"""A server whose wall clock is wrong, and is set while it serves or between two starts."""

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import LOCAL, start
from support.shell import Shell
from support.waiting import wait_until

TUS = {"Tus-Resumable": "1.0.0"}
BYTES = {**TUS, "Content-Type": "application/offset+octet-stream"}
IN_A_YEAR, RIGHT = "+365d", "+0"
GONE = {"content": "deleted soon"}


def in_1970() -> str:
    return f"-{int(time.time()) - 3600}"


class WallClock:
    """The wall clock that servers see. It can be set at any time; the monotonic clock is real."""

    def __init__(self, folder: Path) -> None:
        (self._library,) = (*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)[:1]
        self._file = folder / "wall-clock"

    def set(self, offset: str) -> None:
        if self._library is None:
            pytest.skip("libfaketime is not installed (make tools-debian)")
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self._file)

    @property
    def variables(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
        }


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@contextmanager
def served(data: Path, wall_clock: WallClock, *flags: str) -> Iterator[tuple[Api, int]]:
    """A server by that clock, and its process id."""
    server = start(LOCAL, "--data-dir", str(data), *flags, log=None, **wall_clock.variables)
    try:
        with Api(server.url, LOCAL_EDITION) as api:
            yield api, server.process.pid
    finally:
        server.stop()


def contents(comments: list[dict[str, str]]) -> list[str]:
    return [comment["content"] for comment in comments]


def assert_newest_first(api: Api, post_id: str, written: list[str]) -> None:
    assert contents(api.latest(post_id)) == written[::-1][:10]
    listed = api.get(f"/posts/{post_id}/comments", params={"limit": 100}).json()["comments"]
    assert contents(listed) == written[::-1]


def assert_walk_is_true(api: Api) -> None:
    """In its midst the posts behind its first page climb."""
    there = {post["id"] for post in api.feed(limit=100)["posts"]}
    first = api.feed(limit=2)
    shown = [post["id"] for post in first["posts"]]
    cursor = first["next"]
    for post_id in sorted(there - set(shown)):
        for _ in range(8):
            api.comment(post_id, "bob")
    while cursor is not None:
        page = api.feed(limit=2, cursor=cursor)
        shown += [post["id"] for post in page["posts"]]
        cursor = page["next"]
    assert sorted(shown) == sorted(there)


def test_a_comment_of_a_clock_that_was_ahead_does_not_stay_the_latest(
    data: Path, wall_clock: WallClock, tmp_path: Path
) -> None:
    """Neither while the same server goes on, nor after a restart; and the rest becomes right."""
    wall_clock.set(IN_A_YEAR)
    with served(data, wall_clock) as (api, _):
        post_id = api.ready("alice")["id"]
        api.comment(post_id, "bob", "of next year")
        wall_clock.set(RIGHT)
        api.comment(post_id, "bob", "corrected")
        assert_newest_first(api, post_id, ["of next year", "corrected"])
    with served(data, wall_clock) as (api, _):
        api.comment(post_id, "bob", "restarted")
        written = ["of next year", "corrected", "restarted"]
        assert_newest_first(api, post_id, written)
        shell = Shell(api.url, tmp_path)
        told = shell.run("doctor", "--data-dir", data, code=1).stdout
        assert "s behind the newest post or comment" in told
        assert "BAD  times      2 posts and comments" in told
        rebuilt = shell.run("rebuild", "--data-dir", data).stdout
        assert f"{post_id}: corrected times in 2 documents" in rebuilt
        assert_newest_first(api, post_id, written)
        assert "ok   times" in shell.run("doctor", "--data-dir", data, code=1).stdout
        post = api.get(f"/posts/{post_id}").json()
        ahead = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 2 * 86_400))
        assert (
            max(post["created_at"], *(comment["created_at"] for comment in api.latest(post_id)))
            < ahead
        )
        assert "corrected times" not in shell.run("rebuild", "--data-dir", data).stdout


def test_a_clock_that_goes_back_changes_no_order(data: Path, wall_clock: WallClock) -> None:
    """While it serves, and before a restart."""
    wall_clock.set(RIGHT)
    written, posts = ["first"], list[str]()
    with served(data, wall_clock) as (api, _):
        post_id = api.ready("alice")["id"]
        api.comment(post_id, "bob", "first")
        for back in ("-3", "-86400", in_1970()):
            wall_clock.set(back)
            api.comment(post_id, "bob", back)
            written.append(back)
            posts.append(api.ready("alice")["id"])
            assert_newest_first(api, post_id, written)
        wall_clock.set(RIGHT)
        api.comment(post_id, "bob", "right again")
    wall_clock.set("-3")
    with served(data, wall_clock) as (api, _):
        api.comment(post_id, "bob", "restarted")
        assert_newest_first(api, post_id, [*written, "right again", "restarted"])
        posts.append(api.ready("alice")["id"])
        listed = [post["id"] for post in api.feed(sort="new")["posts"]]
        assert listed == [*posts[::-1], post_id]


def test_walks_are_true_after_a_comment_in_the_future(data: Path, wall_clock: WallClock) -> None:
    """Each page behind the first shows the ranks of just now, not of the clock that was ahead."""
    wall_clock.set(IN_A_YEAR)
    with served(data, wall_clock) as (api, _):
        ids = [api.ready("alice")["id"] for _ in range(4)]
        api.comment(ids[0], "bob")
        wall_clock.set(RIGHT)
        assert_ranks_become_right(api, ids)
        assert_walk_is_true(api)
    with served(data, wall_clock) as (api, _):
        assert_ranks_become_right(api, ids)
        assert_walk_is_true(api)


def assert_ranks_become_right(api: Api, ids: list[str]) -> None:
    """In two epochs' time, a walk's later pages rank by the comments there are."""
    for number, post_id in enumerate(ids):
        for _ in range(2 * number):
            api.comment(post_id, "bob")
    ranked = [post["id"] for post in api.feed(limit=4)["posts"]]

    def walked() -> list[str]:
        first = api.feed(limit=1)
        rest = api.feed(limit=3, cursor=first["next"])
        return [post["id"] for page in (first, rest) for post in page["posts"]]

    wait_until(lambda: walked() == ranked)


def test_an_upload_outlives_a_clock_that_was_in_1970(data: Path, wall_clock: WallClock) -> None:
    """By tus and by its signed URL; while the server runs, and after a restart."""
    content = samples.jpeg()
    wall_clock.set(in_1970())
    with served(data, wall_clock) as (api, _):
        path, put = reserved_by_tus(api, content), reserved_by_put(api, content)
        send(api, path, content[:100], 0)
        wall_clock.set(RIGHT)
        assert api.http.put(put["url"], content=content, headers=put["headers"]).is_success
        send(api, path, content[100:200], 100)
        wait_until(lambda: "1970" not in expiry(api, path))
    with served(data, wall_clock) as (api, _):
        send(api, path, content[200:], 200)


def test_an_upload_outlives_a_restart_that_corrects_the_clock(
    data: Path, wall_clock: WallClock
) -> None:
    content = samples.jpeg()
    wall_clock.set(in_1970())
    with served(data, wall_clock) as (api, _):
        path = reserved_by_tus(api, content)
        send(api, path, content[:100], 0)
    wall_clock.set(RIGHT)
    with served(data, wall_clock) as (api, _):
        send(api, path, content[100:200], 100)
        wait_until(lambda: "1970" not in expiry(api, path))
        send(api, path, content[200:], 200)


def test_what_was_written_in_1970_is_not_written_twice_after_a_restart(
    data: Path, wall_clock: WallClock
) -> None:
    """Repeated requests get the first responses, though the records seem to be 50 years old."""
    wall_clock.set(in_1970())
    with served(data, wall_clock) as (api, _):
        comments = f"/posts/{api.ready('alice')['id']}/comments"
        image = {"image": {"size": 1000, "content_type": "image/jpeg"}}
        ids = {
            path: keyed(api, path, body).json()["id"]
            for path, body in ((comments, {"content": "once"}), ("/posts", image))
        }
        deleted = f"{comments}/{api.send('POST', comments, 'alice', json=GONE).json()['id']}"
        assert api.send("DELETE", deleted, "alice").status_code == 204
    wall_clock.set(RIGHT)
    for _ in range(2):
        with served(data, wall_clock) as (api, _):
            wait_until(lambda: "1970" not in expiry(api, f"/uploads/{ids['/posts']}"))
            assert api.send("DELETE", deleted, "alice").status_code == 204
            for path, body in ((comments, {"content": "once"}), ("/posts", image)):
                answer = keyed(api, path, body)
                assert answer.headers["idempotent-replayed"] == "true"
                assert answer.json()["id"] == ids[path]


def keyed(api: Api, path: str, body: dict[str, Any]) -> httpx.Response:
    return api.send("POST", path, "alice", json=body, headers={"idempotency-key": path})


def test_the_expiry_of_an_upload_is_corrected_with_a_clock_that_was_ahead(
    data: Path, wall_clock: WallClock
) -> None:
    wall_clock.set(IN_A_YEAR)
    with served(data, wall_clock) as (api, _):
        path = reserved_by_tus(api, samples.jpeg())
        wall_clock.set(RIGHT)
        years = {time.strftime("%Y", time.gmtime(time.time() + day * 86_400)) for day in (0, 1)}
        wait_until(lambda: expiry(api, path).split()[3] in years)


def test_an_upload_still_expires_in_a_day_in_which_nobody_served(
    data: Path, wall_clock: WallClock
) -> None:
    wall_clock.set(RIGHT)
    with served(data, wall_clock) as (api, _):
        path = reserved_by_tus(api, samples.jpeg())
    wall_clock.set("+25h")
    with served(data, wall_clock) as (api, _):
        assert api.send("HEAD", path, "alice", headers=TUS).status_code == 410


def test_workers_that_replace_others_go_on_by_the_clock_of_the_server(
    data: Path, wall_clock: WallClock
) -> None:
    wall_clock.set(RIGHT)
    with served(data, wall_clock, "--workers", "2") as (api, pid):
        post_id = api.ready("alice")["id"]
        written = ["before"]
        api.comment(post_id, "bob", "before")
        wall_clock.set(IN_A_YEAR)
        workers = children_of(pid)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: len(set(children_of(pid)) - set(workers)) == 2 and answers(api.url))
        for number in range(15):
            with Api(api.url, LOCAL_EDITION) as other:  # another connection, perhaps another worker
                other.comment(post_id, "bob", str(number))
            written.append(str(number))
        wall_clock.set(RIGHT)
        api.comment(post_id, "bob", "after")
        assert_newest_first(api, post_id, [*written, "after"])
    with closing(sqlite3.connect(data / "image_poster.db")) as connection:
        (epoch,) = connection.execute("SELECT epoch FROM feed_clock").fetchone()
    assert epoch * 5 < time.time() + 86_400


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").is_success
    except httpx.TransportError:
        return False


def children_of(pid: int) -> list[int]:
    child_pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in child_pids]


def reserved_by_tus(api: Api, content: bytes) -> str:
    headers = {**TUS, "Upload-Length": str(len(content))}
    answer = api.send("POST", "/uploads", "alice", headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"])


def reserved_by_put(api: Api, content: bytes) -> dict[str, Any]:
    image = {"size": len(content), "content_type": "image/jpeg"}
    put = api.send("POST", "/posts", "alice", json={"image": image}).json()["upload"]["put"]
    return dict(put)


def send(api: Api, path: str, content: bytes, offset: int) -> None:
    headers = {**BYTES, "Upload-Offset": str(offset)}
    sent = api.send("PATCH", path, "alice", headers=headers, content=content)
    assert sent.status_code == 204, sent.text


def expiry(api: Api, path: str) -> str:
    answer = api.send("HEAD", path, "alice", headers=TUS)
    assert answer.status_code == 200
    return str(answer.headers["upload-expires"])
