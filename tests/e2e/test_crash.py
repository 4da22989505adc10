"""`kill -9` at random moments under load, with tokens, limits and backups: nothing answered
is lost, nothing is stuck, no file is left over."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx

from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import LOCAL, local_server, start
from support.shell import Shell
from support.waiting import wait_until

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "8"))
SEED = int(os.environ.get("CRASH_SEED", "20261124"))
CLIENTS = 6
MOST_ANSWERS = 80  # between a start and a crash
BACKUP_EVERY = 4
# On, and never in the way of these few who do what many would.
LIMITED = (
    *("--auth", "jwt", "--writes-per-minute", "1000000", "--bytes-per-day", "1000000000000"),
    *("--uploads-under-way", "100000", "--requests-per-minute", "1000000"),
)
Thing = TypeVar("Thing")
IMAGE = samples.jpeg()


@dataclass
class RequestLog:
    """The answered requests (whose effects must be there), and the unanswered ones (whose effects
    may)."""

    posts: dict[str, str] = field(default_factory=dict)
    comments: dict[tuple[str, str], str] = field(default_factory=dict)
    deleted_posts: set[str] = field(default_factory=set)
    deleted_comments: set[tuple[str, str]] = field(default_factory=set)
    doubtful: set[object] = field(default_factory=set)
    edited: dict[str, set[str]] = field(default_factory=dict)
    answers: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Client(threading.Thread):
    """One user who does one thing after the other until the connection breaks."""

    def __init__(self, url: str, token: str, journal: RequestLog, seed: int) -> None:
        super().__init__()
        headers = {"authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60)
        self.journal = journal
        self.random = random.Random(seed)
        self.unexpected: list[str] = []

    def run(self) -> None:
        actions: list[Callable[[], None]] = [
            *[self.post] * 4,
            *[self.comment] * 10,
            self.edit,
            self.delete_comment,
            self.delete_post,
        ]
        with self.http:
            try:
                while True:
                    self.random.choice(actions)()
            except httpx.TransportError:
                return

    def answered(self, answer: httpx.Response, *expected: int) -> bool:
        with self.journal.lock:
            self.journal.answers += 1
        if answer.status_code not in expected:
            self.unexpected.append(f"{answer.request.method} {answer.url}: {answer.text}")
        return answer.is_success

    def some(self, known: Iterable[Thing]) -> Thing | None:
        with self.journal.lock:
            latest = list(known)[-30:]
            return self.random.choice(latest) if latest else None

    def post(self) -> None:
        caption = f"{self.random.random()}"
        answer = self.http.post("/posts", files={"image": IMAGE}, data={"caption": caption})
        if self.answered(answer, 201):
            with self.journal.lock:
                self.journal.posts[answer.json()["id"]] = caption
            if self.random.random() < 0.5:
                self.http.get(f"/posts/{answer.json()['id']}", params={"wait": 5})

    def comment(self) -> None:
        post_id = self.some(self.journal.posts)
        if post_id is None:
            return
        content = f"{self.random.random()}"
        answer = self.http.post(f"/posts/{post_id}/comments", json={"content": content})
        if self.answered(answer, 201, 404, 409):
            with self.journal.lock:
                self.journal.comments[post_id, answer.json()["id"]] = content

    def edit(self) -> None:
        post_id = self.some(self.journal.posts)
        if post_id is None:
            return
        caption = f"edited {self.random.random()}"
        with self.journal.lock:
            self.journal.edited.setdefault(post_id, set()).add(caption)
        self.answered(self.http.patch(f"/posts/{post_id}", json={"caption": caption}), 200, 404)

    def delete_comment(self) -> None:
        known = self.some(self.journal.comments)
        if known is None:
            return
        self.delete(known, f"/posts/{known[0]}/comments/{known[1]}", self.journal.deleted_comments)

    def delete_post(self) -> None:
        post_id = self.some(self.journal.posts)
        if post_id is not None:
            self.delete(post_id, f"/posts/{post_id}", self.journal.deleted_posts)

    def delete(self, known: Thing, path: str, deleted: set[Thing]) -> None:
        with self.journal.lock:
            self.journal.doubtful.add(known)
        if self.answered(self.http.delete(path), 204, 404):
            with self.journal.lock:
                deleted.add(known)


def crash_once(data_dir: Path, token: str, journal: RequestLog, chance: random.Random) -> list[str]:
    with (data_dir / "log").open("a") as log:
        server = start(LOCAL, "--data-dir", str(data_dir), *LIMITED, log=log)
    clients = [Client(server.url, token, journal, chance.randrange(2**32)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    # The moment of the crash: after so many answers, for a slow machine gives few in a time.
    last = journal.answers + chance.randrange(MOST_ANSWERS)
    wait_until(lambda: journal.answers >= last, every=0.001)
    time.sleep(chance.uniform(0, 0.02))
    server.kill()
    for client in clients:
        client.join()
    return [message for client in clients for message in client.unexpected]


def all_comments(api: Api, post_id: str) -> list[dict[str, str]]:
    comments: list[dict[str, str]] = []
    question: dict[str, object] = {"limit": 100}
    while True:
        page = api.get(f"/posts/{post_id}/comments", "user", params=question).json()
        comments += page["comments"]
        if page["next"] is None:
            return comments
        question["cursor"] = page["next"]


def check_posts(api: Api, journal: RequestLog) -> None:
    for post_id, caption in journal.posts.items():
        api.processed(f"/posts/{post_id}", "user")
        answer = api.get(f"/posts/{post_id}", "user", params={"comments": 10})
        if post_id in journal.deleted_posts:
            assert answer.status_code == 404
            continue
        if answer.status_code == 404:
            assert post_id in journal.doubtful
            continue
        post = answer.json()
        assert post["status"] == "ready", post
        assert post["caption"] == caption or post["caption"] in journal.edited[post_id]
        assert api.get(post["image"]["url"]).status_code == 200
        assert api.get(post["image"]["large"]["url"]).status_code == 200
        assert api.get(f"/posts/{post_id}/original", "user").content == IMAGE
        check_comments(api, journal, post)


def check_comments(api: Api, journal: RequestLog, post: dict[str, object]) -> None:
    comments = all_comments(api, str(post["id"]))
    contents = {comment["id"]: comment["content"] for comment in comments}
    assert len(contents) == len(comments)
    assert post["total_comments"] == len(comments)
    assert post["latest_comments"] == comments[:10]
    for (post_id, comment_id), content in journal.comments.items():
        if post_id != post["id"]:
            continue
        if (post_id, comment_id) in journal.deleted_comments:
            assert comment_id not in contents
        elif (post_id, comment_id) not in journal.doubtful:
            assert contents[comment_id] == content


def posts_in_feed(api: Api) -> list[str]:
    post_ids: list[str] = []
    question: dict[str, object] = {"limit": 100, "sort": "new"}
    while True:
        page = api.feed(**question)
        post_ids += [post["id"] for post in page["posts"]]
        if page["next"] is None:
            return post_ids
        question["cursor"] = page["next"]


def files_of(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.rglob("*") if path.is_file()}


def test_nothing_answered_is_lost_nothing_is_stuck_no_file_is_left(tmp_path: Path) -> None:
    chance, journal = random.Random(SEED), RequestLog()
    data, shell = tmp_path / "data", Shell("", tmp_path)
    data.mkdir()
    with local_server(data, *LIMITED):
        token = shell.run("token", "user", "--data-dir", data).stdout.strip()
    backup = Backup(data, tmp_path / "backup", shell)
    for number in range(ROUNDS):
        with backup.meanwhile(journal) if number % BACKUP_EVERY == 0 else nullcontext():
            assert crash_once(data, token, journal, chance) == []
    assert len(journal.posts) > ROUNDS
    assert len(journal.comments) > ROUNDS
    assert errors_in(data / "log") == []
    with local_server(data, *LIMITED) as server, Api(server.url, LOCAL_EDITION) as api:
        api.http.headers["authorization"] = f"Bearer {token}"
        check_posts(api, journal)
        shown = posts_in_feed(api)
        assert len(shown) == len(set(shown))
        wait_until_swept(data, api)
        assert list((data / "spool").iterdir()) == []
    backup.check(journal, token)


@dataclass
class Backup:
    """Backups to one place while the server is killed; `posts` had been answered when the last
    began."""

    data: Path
    target: Path
    shell: Shell
    posts: set[str] = field(default_factory=set)

    @contextmanager
    def meanwhile(self, journal: RequestLog) -> Iterator[None]:
        with journal.lock:
            self.posts = set(journal.posts)
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self.shell.run, "backup", self.target, "--data-dir", self.data)
            yield
            done.result()

    def check(self, journal: RequestLog, token: str) -> None:
        """Everything that was answered before the backup is in it, unless its deletion was
        requested."""
        restored = self.data.with_name("restored")
        self.shell.run("restore", self.target, "--data-dir", restored, "--keep-tokens")
        with local_server(restored, *LIMITED) as server, Api(server.url, LOCAL_EDITION) as api:
            api.http.headers["authorization"] = f"Bearer {token}"
            for post_id in self.posts - journal.doubtful:
                post = api.processed(f"/posts/{post_id}")
                assert post["status"] == "ready", post
                assert api.get(post["image"]["url"]).status_code == 200
        assert "BAD" not in self.shell.run("doctor", "--deep", "--data-dir", restored).stdout


def wait_until_swept(data_dir: Path, api: Api) -> None:
    """The sweeper works in the background after the start, and so does image work: a post whose
    answer was lost may become ready only now."""
    differences: list[set[str]] = []

    def is_swept() -> bool:
        shown = set(posts_in_feed(api))
        folders = (data_dir / "originals", data_dir / "renditions")
        differences[:] = [files_of(folder) ^ shown for folder in folders]
        return not any(differences)

    wait_until(is_swept, every=0.1, message=lambda: str(differences))


def errors_in(log: Path) -> list[str]:
    """A crash between a file and its row leaves a file that is moved to quarantine, with a
    warning."""
    lines = [line for line in log.read_text().splitlines() if '"level": "info"' not in line]
    return [line for line in lines if "were moved to quarantine" not in line]
