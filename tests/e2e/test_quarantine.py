"""A server that finds the wrong database beside its images deletes none of them."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from image_poster.adapters.sqlite.database import connect
from image_poster.adapters.sqlite.schema import migrate
from image_poster.domain.ids import new_id
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import local_server, refused
from support.shell import Shell
from support.waiting import wait_for_midnight_if_near, wait_until

KEPT = ("originals", "renditions", "uploads")
DATABASE = "image_poster.db"
Files = dict[Path, bytes]


def files_in(root: Path) -> Files:
    """The files of posts below a folder, by their paths there. A server may move some meanwhile."""
    files: Files = {}
    for path in (path for name in KEPT for path in (root / name).rglob("*") if path.is_file()):
        with suppress(FileNotFoundError):
            files[path.relative_to(root)] = path.read_bytes()
    return files


def quarantined(data: Path) -> Files:
    """The files in quarantine, of any day."""
    files: Files = {}
    for day in (data / "quarantine").glob("????-??-??"):
        files |= files_in(day)
    return files


def of(post_id: str, files: Files) -> Files:
    """Those of the files that belong to the post."""
    return {path: content for path, content in files.items() if path.name.startswith(post_id)}


def remove_database(data: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (data / (DATABASE + suffix)).unlink(missing_ok=True)


def replace_database(data: Path, by: Path) -> None:
    remove_database(data)
    shutil.copy(by, data / DATABASE)


def begun_upload(api: Api, user: str) -> str:
    """An upload of 1,000 bytes, of which some are there."""
    content = b"\xff\xd8\xff\xe0" + bytes(96)
    tus = {"Tus-Resumable": "1.0.0"}
    answer = api.send("POST", "/uploads", user, headers={**tus, "Upload-Length": "1000"})
    assert answer.status_code == 201, answer.text
    headers = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    path = answer.headers["location"]
    assert api.send("PATCH", path, user, headers=headers, content=content).status_code == 204
    return str(path.rpartition("/")[2])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def without_tables(path: Path) -> None:
    path.touch()


def without_rows(path: Path) -> None:
    migrate(connect(path))


def missing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("fresh", [without_tables, without_rows, missing])
def test_a_database_without_posts_beside_images_stops_the_start(
    data: Path, tmp_path: Path, fresh: Callable[[Path], None]
) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        known = api.ready("alice")["id"]
        begun_upload(api, "alice")
    before = files_in(data)
    assert len(before) == 3 + 3
    shutil.copy(data / DATABASE, tmp_path / "right.db")
    remove_database(data)
    fresh(data / DATABASE)
    for _ in range(2):  # a refusal leaves no state that lets the next start succeed
        said = refused("--data-dir", str(data), "--port", "0")
        assert "is new or empty, but the folder has images" in said
        assert "docs/operations.md" in said
    assert files_in(data) == before
    remove_database(data)
    shutil.copy(tmp_path / "right.db", data / DATABASE)
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        assert api.get(f"/posts/{known}/original", "alice").status_code == 200


@pytest.mark.quick
def test_an_original_whose_row_a_crash_prevented_does_not_stop_the_start(data: Path) -> None:
    """The very first post of a folder: its file was there, its row was not yet."""
    with local_server(data):
        pass
    post_id = new_id()
    lost = data / "originals" / post_id[-2:] / post_id
    lost.parent.mkdir()
    lost.write_bytes(b"bytes")
    with local_server(data):
        wait_until(lambda: not files_in(data))
    assert len(quarantined(data)) == 1


@pytest.mark.parametrize("by_the_doctor", [True, False], ids=["by the doctor", "at the start"])
def test_an_older_database_moves_aside_what_it_does_not_know_and_it_can_be_put_back(
    data: Path, tmp_path: Path, *, by_the_doctor: bool
) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        known = api.ready("alice")["id"]
    shutil.copy(data / DATABASE, tmp_path / "older.db")
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        newer, upload = api.ready("alice")["id"], begun_upload(api, "alice")
    shutil.copy(data / DATABASE, tmp_path / "right.db")
    before = files_in(data)
    replace_database(data, tmp_path / "older.db")
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        wait_until(lambda: files_in(data) == of(known, before))
        assert api.get(f"/posts/{known}/original", "alice").status_code == 200
    unmarked = without_marks(before)
    assert quarantined(data) == of(newer, before) | of(upload, before)
    replace_database(data, tmp_path / "right.db")
    if by_the_doctor:
        put_back(data, quarantined(data))
        assert without_marks(files_in(data)) == unmarked
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        assert without_marks(files_in(data)) == unmarked
        tus = {"Tus-Resumable": "1.0.0"}
        head = api.send("HEAD", f"/uploads/{upload}", "alice", headers=tus)
        assert head.headers["upload-offset"] == "100"
        post = api.get(f"/posts/{newer}").json()
        assert api.get(post["image"]["url"]).status_code == 200
        assert "BAD" not in Shell(server.url, tmp_path).run("doctor", "--data-dir", data).stdout


def without_marks(files: Files) -> Files:
    """The files without the marks of their current writers."""
    return {path: content for path, content in files.items() if path.suffix != ".owner"}


def put_back(data: Path, aside: Files) -> None:
    """Restore the quarantine by the doctor, as docs/operations.md says."""
    shell = Shell("", data.parent)
    told = shell.run("doctor", "--data-dir", data, code=1).stdout
    assert f"BAD  quarantine {len(aside)} files, the oldest since " in told
    assert "2 posts lack these files: pass --restore-quarantine" in told
    done = shell.run("doctor", "--restore-quarantine", "--data-dir", data)
    assert f"{len(aside)} files put back" in done.stderr
    assert "ok   quarantine empty" in done.stdout


def test_quarantine_ends_after_seven_days(data: Path, tmp_path: Path) -> None:
    """Days are counted by the folders' names: the files' own times are of today."""
    wait_for_midnight_if_near()
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        known = api.ready("alice")["id"]
    shutil.copy(data / DATABASE, tmp_path / "older.db")
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        ids = [api.ready("alice")["id"] for _ in range(2)]
    replace_database(data, tmp_path / "older.db")
    with local_server(data):
        wait_until(lambda: all(path.name.startswith(known) for path in files_in(data)))
    today = datetime.now(UTC).date()
    (moved,) = (data / "quarantine").iterdir()
    for post_id, days in zip(ids, (6, 9), strict=True):
        for path in list(of(post_id, files_in(moved))):
            target = data / "quarantine" / str(today - timedelta(days=days)) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (moved / path).rename(target)
    before = quarantined(data)
    with local_server(data):
        wait_until(lambda: quarantined(data) != before and not of(ids[1], quarantined(data)))
    assert quarantined(data) == of(ids[0], before)
    assert len(of(ids[0], before)) == 3


def test_the_files_of_a_deleted_post_are_deleted_wherever_they_are(data: Path) -> None:
    """One post was deleted before a crash; one is deleted while its files are in quarantine."""
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        crashed, aside = [api.ready("alice")["id"] for _ in range(2)]
    day = data / "quarantine" / str(datetime.now(UTC).date())
    for path in of(aside, files_in(data)):
        (day / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).rename(day / path)
    bury(data, crashed)
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        assert api.send("DELETE", f"/posts/{aside}", "alice").status_code == 204
        wait_until(lambda: not files_in(data) and not quarantined(data))


def bury(data: Path, post_id: str) -> None:
    """Leave the state of a deletion whose process ended right after its transaction."""
    connection = sqlite3.connect(data / DATABASE)
    with connection:
        connection.execute("DELETE FROM posts WHERE id = ?", (post_id,))
        connection.execute(
            "INSERT INTO tombstones (id, user, deleted_at, pending) VALUES (?, 'alice', 1, 1)",
            (post_id,),
        )
    connection.close()
