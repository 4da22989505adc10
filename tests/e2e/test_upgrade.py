"""A database of an earlier version is brought up to date by the start, once a copy is made."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from image_poster.adapters.sqlite import migrations, schema
from image_poster.domain.ids import new_id
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import local_server, refused
from support.shell import Shell

POST = new_id()
EARLIER = 6
HEAD = (
    f'{{"v":1,"id":"{POST}","status":"failed","caption":"","alt":"","creator":"alice",'
    '"created_at":"2026-01-01T00:00:00.000Z","edited_at":null,"image":null,'
    '"failure":{"code":"image_unreadable","detail":"It is."}}'
).encode()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of a program that knew the first six migrations."""
    folder = tmp_path / "data"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "image_poster.db", isolation_level=None)) as connection:
        for migration in migrations.MIGRATIONS[:EARLIER]:
            connection.executescript(migration)
        connection.execute(f"PRAGMA user_version = {EARLIER}")
        connection.execute(
            "INSERT INTO posts (id, status, creator, head, due_at) "
            "VALUES (?, 'failed', 'alice', ?, ?)",
            (POST, HEAD, time.time_ns() // 1_000_000),  # an older failure would be swept
        )
    return folder


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.quick
def test_the_start_brings_it_up_to_date_and_keeps_what_it_was(data: Path, tmp_path: Path) -> None:
    (data / "image_poster.v3.db").write_bytes(b"of a former upgrade")
    said = Shell("", tmp_path).run("rebuild", "--data-dir", data, code=2).stderr
    assert "the next start of `image-poster serve` migrates it" in said
    assert version_of(data / "image_poster.db") == EARLIER
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        assert api.get(f"/posts/{POST}", "alice").json()["failure"]["code"] == "image_unreadable"
    assert version_of(data / "image_poster.db") == schema.VERSION
    (copy,) = data.glob("image_poster.v*.db*")
    assert (copy.name, version_of(copy)) == (f"image_poster.v{EARLIER}.db", EARLIER)
    assert copy.stat().st_mode & 0o077 == 0
    with local_server(data):
        pass  # there is nothing more to do


def test_a_step_that_fails_leaves_what_was(data: Path) -> None:
    """Here because its table is there already, as no database of ours is."""
    with closing(sqlite3.connect(data / "image_poster.db")) as connection:
        connection.execute("CREATE TABLE probe (x)")
    said = refused("--data-dir", str(data), "--port", "0")
    assert "cannot be used" in said
    assert version_of(data / "image_poster.db") == EARLIER


def test_an_earlier_program_does_not_start_on_the_database_of_a_later_one(data: Path) -> None:
    path = data / "image_poster.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = path.read_bytes()
    said = refused("--data-dir", str(data), "--port", "0")
    assert f"it has schema version {schema.VERSION + 1}, of a later program" in said
    assert path.read_bytes() == before
