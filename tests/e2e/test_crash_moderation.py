"""`kill -9` at random moments, with decisions, bans and deletions of accounts among the writes.
Every answered write holds, counts are exact, and nothing of a deleted account is in the data
folder. Each answered fact has its event, no event is without its fact, and all tries of an event
have the same id."""

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from image_poster.editions.local.data_folder import DATABASE
from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.receiver import Receiver, running_receiver
from support.servers import LOCAL, local_server, start
from support.shell import Shell
from support.waiting import wait_until

# `make crash` kills as often here as in the crash test of posts and comments.
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "4"))
SEED = int(os.environ.get("CRASH_SEED", "20261130"))
CLIENTS = 4
MOST_ANSWERS = 60  # between a start and a crash
FLAGS = ("--admins", "root")
IMAGE = samples.jpeg()
READY, HIDDEN, DELETED = "ready", "hidden", "deleted"


@dataclass
class Person:
    """A user, and the text in all that this user writes. `leaves` once the account's deletion was
    requested, `is_gone` once that was answered."""

    name: str
    mark: str
    leaves: bool = False
    is_gone: bool = False


@dataclass
class OwnPost:
    """A post, and the states that it may be in: one, or two after an unanswered request."""

    id: str
    creator: Person
    states: set[str] = field(default_factory=lambda: {READY})


@dataclass
class ClientRecord:
    """The answers that one client got. Only this client decides about its own posts and people."""

    number: int
    people: list[Person] = field(default_factory=list)
    posts: list[OwnPost] = field(default_factory=list)
    comments: dict[tuple[str, str], Person] = field(default_factory=dict)
    decisions: set[str] = field(default_factory=set)
    reports: set[str] = field(default_factory=set)
    bans: dict[str, set[bool]] = field(default_factory=dict)

    def current(self) -> Person:
        """The user who writes now: a new one after the last one has left."""
        if not self.people or self.people[-1].leaves:
            name = f"u{self.number}-{len(self.people)}"
            mark = f"mark{random.Random(name).getrandbits(64):x}"
            self.people.append(Person(name, mark))
        return self.people[-1]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


class Client(threading.Thread):
    """One client that does one thing after the other until the connection breaks."""

    def __init__(
        self, url: str, own: ClientRecord, everyone: list[ClientRecord], seed: int
    ) -> None:
        super().__init__()
        self.http = httpx.Client(base_url=url, timeout=60)
        self.own, self.everyone = own, everyone
        self.random = random.Random(seed)
        self.answers = 0
        self.unexpected: list[str] = []

    def run(self) -> None:
        actions: list[Callable[[], None]] = [
            *[self.post] * 4,
            *[self.comment] * 8,
            *[self.report] * 2,
            *[self.hide_or_restore] * 4,
            self.ban_or_unban,
            self.leave,
        ]
        with self.http:
            try:
                while True:
                    self.random.choice(actions)()
            except httpx.TransportError:
                return

    def send(self, method: str, path: str, user: str, *expected: int, **parts: Any) -> Any:
        answer = self.http.request(method, path, headers={"user-id": user}, **parts)
        self.answers += 1
        if answer.status_code not in expected:
            self.unexpected.append(f"{method} {path} {answer.status_code}: {answer.text}")
        return answer.json() if answer.is_success and answer.content else None

    def any_post(self) -> OwnPost | None:
        posts = [post for record in self.everyone for post in record.posts[-10:]]
        return self.random.choice(posts) if posts else None

    def post(self) -> None:
        person = self.own.current()
        form = {"caption": f"{person.mark} caption", "alt": f"{person.mark} alt"}
        answer = self.send("POST", "/posts", person.name, 201, files={"image": IMAGE}, data=form)
        if answer:
            shown = self.send("GET", f"/posts/{answer['id']}?wait=20", person.name, 200)
            if shown and shown["status"] == READY:
                self.own.posts.append(OwnPost(answer["id"], person))

    def comment(self) -> None:
        post, person = self.any_post(), self.own.current()
        if post is None:
            return
        path, content = f"/posts/{post.id}/comments", {"content": f"{person.mark} comment"}
        answer = self.send("POST", path, person.name, 201, 404, 409, json=content)
        if answer:
            self.own.comments[post.id, answer["id"]] = person

    def report(self) -> None:
        post, person = self.any_post(), self.own.current()
        if post is None or post.creator is person:
            return
        report = {"post_id": post.id, "reason": "spam", "text": f"{person.mark} report"}
        answer = self.send("POST", "/reports", person.name, 201, 200, 404, json=report)
        if answer:
            self.own.reports.add(answer["id"])

    def decide(self, expected: set[int], **decision: Any) -> bool:
        answer = self.send("POST", "/moderation/decisions", "root", *expected, json=decision)
        if answer:
            self.own.decisions.add(answer["id"])
        return bool(answer)

    def hide_or_restore(self) -> None:
        posts = [post for post in self.own.posts if not post.creator.leaves]
        if not posts:
            return
        post = self.random.choice(posts[-10:])
        action, after = self.random.choice([("hide", HIDDEN), ("restore", READY)])
        before = set(post.states)
        post.states |= {after}
        if self.decide({201, 200, 409}, post_id=post.id, action=action, reason="other"):
            post.states = {after}
        else:
            post.states = before

    def ban_or_unban(self) -> None:
        name = f"banned-{self.own.number}-{self.random.randrange(3)}"
        is_ban = self.random.random() < 0.5
        states = self.own.bans.setdefault(name, {False})
        before = set(states)
        states |= {is_ban}
        action = "ban" if is_ban else "unban"
        done = self.decide({201, 200, 409}, user=name, action=action, reason="spam")
        self.own.bans[name] = {is_ban} if done else before

    def leave(self) -> None:
        person = self.own.current()
        if self.random.random() < 0.5:
            return
        person.leaves = True
        self.send("DELETE", "/me", person.name, 202, json={"confirm": person.name})
        person.is_gone = True


def crash_once(
    data: Path, flags: tuple[str, ...], records: list[ClientRecord], chance: random.Random
) -> list[str]:
    with data.with_name("log").open("a") as log:
        server = start(LOCAL, "--data-dir", str(data), *flags, log=log)
    clients = [Client(server.url, record, records, chance.getrandbits(32)) for record in records]
    for client in clients:
        client.start()
    last = chance.randrange(MOST_ANSWERS)
    wait_until(lambda: sum(client.answers for client in clients) >= last, every=0.001)
    time.sleep(chance.uniform(0, 0.02))
    server.kill()
    for client in clients:
        client.join()
    return [message for client in clients for message in client.unexpected]


def people_of(records: list[ClientRecord]) -> list[Person]:
    return [person for record in records for person in record.people]


def wait_until_erased(api: Api, records: list[ClientRecord]) -> None:
    """A deletion that was begun, answered or not, goes on after the start."""
    for person in people_of(records):
        wait_until(partial(may_write, api, person.name), message=person.name)


def may_write(api: Api, name: str) -> bool:
    answer = api.send("PUT", "/me/blocks/nobody", name)
    assert answer.status_code in (204, 403), answer.text
    return answer.status_code == 204


def files_of(data: Path, folder: str, post_id: str) -> list[Path]:
    return list((data / folder / post_id[-2:]).glob(f"{post_id}.*"))


def check_post(api: Api, data: Path, post: OwnPost) -> None:
    answer = api.get(f"/posts/{post.id}", post.creator.name)
    if post.creator.is_gone or (post.creator.leaves and answer.status_code == 404):
        assert answer.status_code == 404
        folders = ("originals", "renditions", "withheld")
        assert [files_of(data, folder, post.id) for folder in folders] == [[], [], []]
        return
    status = answer.json()["status"]
    assert status in post.states, (post, answer.text)
    public = [api.get(f"/images/{post.id}/{name}.jpg").status_code for name in ("600", "1600")]
    own = api.get(f"/me/images/{post.id}/600.jpg", post.creator.name).status_code
    assert (public, own) == ([200 if status == READY else 404] * 2, 200)
    # The sweep after the start moves what a crash left in the other folder.
    other = "renditions" if status == HIDDEN else "withheld"
    wait_until(lambda: not files_of(data, other, post.id), message=f"{post.id} in {other}")
    if status == HIDDEN:
        restored = {"post_id": post.id, "action": "restore"}
        assert api.send("POST", "/moderation/decisions", "root", json=restored).status_code == 201


def pages(
    api: Api, path: str, member: str, user: str | None = None, **question: Any
) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 100, **question}
    while True:
        page = api.get(path, user, params=query).json()
        entries += page[member]
        if page["next"] is None:
            return entries
        query["cursor"] = page["next"]


def check_counts(api: Api, records: list[ClientRecord]) -> None:
    """Counts, latest comments, and the comments of those who stay, on all posts."""
    gone = {person.mark for person in people_of(records) if person.is_gone}
    authors = {key: person for record in records for key, person in record.comments.items()}
    for post in pages(api, "/posts", "posts", sort="new", comments=10):
        comments = pages(api, f"/posts/{post['id']}/comments", "comments")
        assert post["total_comments"] == len(comments)
        assert post["latest_comments"] == comments[:10]
        assert gone.isdisjoint(comment["content"].split()[0] for comment in comments)
        shown = {comment["id"] for comment in comments}
        for (post_id, comment_id), person in authors.items():
            if post_id == post["id"] and not person.leaves:
                assert comment_id in shown


def check_decisions(api: Api, records: list[ClientRecord]) -> None:
    log = [entry["id"] for entry in pages(api, "/moderation/decisions", "decisions", "root")]
    assert len(log) == len(set(log))
    assert set().union(*(record.decisions for record in records)) <= set(log)
    for record in records:
        for name, states in record.bans.items():
            answer = api.send("PUT", "/me/blocks/nobody", name)
            assert answer.status_code == 204  # banned users may block
            report = {"post_id": "01KB3V6Q8Z0000000000000000", "reason": "spam"}
            refused = api.send("POST", "/reports", name, json=report)
            assert (refused.status_code == 403) in states, (name, states, refused.text)


def marks_in(folder: Path, marks: list[str]) -> list[tuple[str, str]]:
    """The files below the folder with one of the marks in them."""
    places = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            places += [(str(path), mark) for mark in marks if mark.encode() in content]
    return places


def ids_by_fact(receiver: Receiver) -> dict[tuple[str, str], set[str]]:
    """The ids of the events of each fact that happens once: its type, and its resource."""
    ids: dict[tuple[str, str], set[str]] = {}
    for event in receiver.events:
        if event.type not in {"post.hidden", "post.restored"}:
            resource = event.data.get("id") or event.data["user"]
            ids.setdefault((event.type, resource), set()).add(event.id)
    return ids


def answered_facts(records: list[ClientRecord]) -> set[tuple[str, str]]:
    """The facts that clients were told of."""
    facts = {("user.deleted", person.name) for person in people_of(records) if person.is_gone}
    for record in records:
        facts |= {("post.ready", post.id) for post in record.posts}
        facts |= {("post.deleted", post.id) for post in record.posts if post.creator.is_gone}
        facts |= {("comment.created", comment_id) for _, comment_id in record.comments}
        facts |= {("report.created", report_id) for report_id in record.reports}
        facts |= {("decision.made", decision_id) for decision_id in record.decisions}
    return facts


def stored_facts(data: Path) -> set[tuple[str, str]]:
    """The facts that are in the database."""
    facts: set[tuple[str, str]] = set()
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        for type_, sql in (
            ("post.ready", "SELECT id FROM posts WHERE status IN ('ready', 'hidden')"),
            ("post.deleted", "SELECT id FROM tombstones"),
            ("comment.created", "SELECT id FROM comments"),
            ("comment.deleted", "SELECT id FROM tombstones"),
            ("report.created", "SELECT id FROM reports"),
            ("decision.made", "SELECT id FROM decisions"),
        ):
            facts |= {(type_, id_) for (id_,) in connection.execute(sql)}
    return facts


def check_events(data: Path, receiver: Receiver, records: list[ClientRecord]) -> None:
    """Compare the events with the facts, once none waits."""
    ids = ids_by_fact(receiver)
    assert receiver.invalid == []
    assert answered_facts(records) - ids.keys() == set()
    assert {fact: several for fact, several in ids.items() if len(several) > 1} == {}
    gone = {("post.ready", id_) for type_, id_ in ids if type_ == "post.deleted"}
    gone |= {("comment.created", id_) for type_, id_ in ids if type_ == "comment.deleted"}
    # Without events of their own: comments of deleted posts, which were purged with these.
    deleted = {id_ for type_, id_ in ids if type_ == "post.deleted"}
    gone |= {
        ("comment.created", event.data["id"])
        for event in receiver.of_type("comment.created")
        if event.data["post_id"] in deleted
    }
    left = {("user.deleted", person.name) for person in people_of(records) if person.leaves}
    assert ids.keys() - stored_facts(data) - gone - left == set()


def wait_until_delivered(data: Path) -> None:
    """Wait until no event waits."""
    with closing(sqlite3.connect(data / DATABASE)) as connection:
        wait_until(
            lambda: connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,),
            every=0.1,
        )


def test_decisions_hold_and_nothing_of_a_deleted_account_is_left(
    tmp_path: Path, receiver: Receiver
) -> None:
    chance, records = random.Random(SEED), [ClientRecord(number) for number in range(CLIENTS)]
    data = tmp_path / "data"
    with local_server(data):
        receiver.learn_secret(Shell("", tmp_path), data)
    flags = (*FLAGS, "--webhook", receiver.url)
    for _ in range(ROUNDS):
        assert crash_once(data, flags, records, chance) == []
    assert any(record.decisions for record in records)
    with local_server(data, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        wait_until_erased(api, records)
        for record in records:
            for post in record.posts:
                check_post(api, data, post)
        check_counts(api, records)
        check_decisions(api, records)
        gone = [person.mark for person in people_of(records) if person.is_gone]
        assert gone
        wait_until_delivered(data)
        check_events(data, receiver, records)
        assert marks_in(data, gone) == []
