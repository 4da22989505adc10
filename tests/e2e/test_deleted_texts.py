"""A deleted text is nowhere in the database's file: not in a row, an idempotency record, a free
page."""

import sqlite3
import time
from base64 import b64encode
from contextlib import closing
from pathlib import Path

from image_poster.adapters.sqlite import migrations
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, assert_problem
from support.servers import local_server
from support.waiting import wait_until

ALICE, BOB = "alice", "bob"
GONE = "zxqsecret"
KEPT = "zxqkept"


def secret(number: int) -> str:
    """A text that nothing else has; long ones lie in pages of their own."""
    return f"{GONE}{number} " * (120 if number % 3 == 0 else 1)


def left_of(database: Path, text: str) -> list[str]:
    """The files of the database that have the text, as it is or in Base64."""
    needles = [text.encode(), *(b64encode(b"_" * at + text.encode())[4:-4] for at in range(3))]
    return [
        path.name
        for path in database.parent.glob(f"{database.name}*")
        if any(needle in path.read_bytes() for needle in needles)
    ]


def purged(database: Path) -> bool:
    """All that follows from deletions is done."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        pending = connection.execute("SELECT 1 FROM tombstones WHERE pending = 1").fetchall()
    return not pending


def begin_by_tus(api: Api, text: str, key: dict[str, str]) -> str:
    """The post of an upload whose metadata has the text."""
    metadata = f"caption {b64encode(text.encode()).decode()}"
    sent = {"tus-resumable": "1.0.0", "upload-length": "9", "upload-metadata": metadata, **key}
    answer = api.send("POST", "/uploads", ALICE, headers=sent)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"]).replace("uploads", "posts")


def test_deleted_texts_are_gone_from_the_file(tmp_path: Path) -> None:
    database = tmp_path / "image_poster.db"
    with local_server(tmp_path) as server, Api(server.url, LOCAL_EDITION) as api:
        post = api.ready(ALICE, caption=KEPT)
        path = f"/posts/{post['id']}/comments"
        bodies = [{"content": secret(number)} for number in range(40)]
        comments = [
            api.send("POST", path, BOB, json=body, headers={"idempotency-key": str(number)})
            for number, body in enumerate(bodies)
        ]
        for number in (0, 1):  # the record of the first answer has the former text, too
            edit = {"content": f"edited {secret(number)}"}
            assert api.send(
                "PATCH", comments[number].headers["location"], BOB, json=edit
            ).is_success
        for number in (2, 3):
            edit = {"content": "edited"}
            assert api.send(
                "PATCH", comments[number].headers["location"], BOB, json=edit
            ).is_success
        for number, answer in enumerate(comments):
            by = ALICE if number % 2 else BOB
            assert api.send("DELETE", answer.headers["location"], by).status_code == 204
        key, image = {"idempotency-key": "p"}, {"size": 9, "content_type": "image/jpeg"}
        order = {"image": image, "caption": secret(50), "alt": secret(51)}
        posts = [
            api.ready(ALICE, caption=secret(52), alt=secret(54)),
            api.send("POST", "/posts", ALICE, json=order, headers=key).json(),
        ]
        by_tus = begin_by_tus(api, secret(55), {"idempotency-key": "t"})
        for number in range(60, 70):
            comment = {"content": secret(number)}
            of_post = f"/posts/{posts[0]['id']}/comments"
            headers = {"idempotency-key": str(number)}
            assert api.send("POST", of_post, BOB, json=comment, headers=headers).is_success
        for gone in (f"/posts/{posts[0]['id']}", f"/posts/{posts[1]['id']}", by_tus):
            assert api.send("DELETE", gone, ALICE).status_code == 204
        again = api.send("POST", path, BOB, json=bodies[7], headers={"idempotency-key": "7"})
        assert_problem(again, 410, "gone")
        again = api.send("POST", "/posts", ALICE, json=order, headers=key)
        assert_problem(again, 410, "gone")
        assert api.get(path).json()["comments"] == []
        wait_until(lambda: purged(database), every=0.05)
    assert left_of(database, GONE) == []
    assert left_of(database, KEPT) == ["image_poster.db"]


def test_an_upgrade_removes_texts_that_were_deleted_before(tmp_path: Path) -> None:
    database, id_ = tmp_path / "image_poster.db", "01K00000000000000000000000"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.create_function("fitting_latest", 1, bytes)
        for migration in migrations.MIGRATIONS[:13]:  # those of the version before
            connection.executescript(migration)
        connection.execute("PRAGMA user_version = 13")
        connection.execute(
            "INSERT INTO tombstones (id, user, deleted_at, pending) VALUES (?, ?, ?, 0)",
            (id_, BOB, time.time_ns() // 1_000_000),
        )
        connection.execute(
            "INSERT INTO idempotency_records VALUES (?, 'k', x'00', ?, ?, ?)",
            (BOB, GONE.encode(), f"/posts/{id_}/comments/{id_}", time.time_ns() // 1_000_000),
        )
    assert left_of(database, GONE) == ["image_poster.db"]
    with local_server(tmp_path):
        pass
    assert "image_poster.db" not in left_of(database, GONE)
