"""A server that finds the wrong database beside its images deletes none of them."""

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import LOCAL, local_server, start
from support.shell import Shell

KEPT = ("originals", "renditions", "uploads")
DATABASE = "image_poster.db"
Files = dict[Path, bytes]


def files_in(root: Path) -> Files:
    """The files of posts below a folder, by their paths there."""
    paths = [path for name in KEPT for path in (root / name).rglob("*") if path.is_file()]
    return {path.relative_to(root): path.read_bytes() for path in paths}


def quarantined(data: Path) -> Files:
    """What is in quarantine, whatever the day."""
    found: Files = {}
    for day in (data / "quarantine").glob("????-??-??"):
        found |= files_in(day)
    return found


def of(post_id: str, files: Files) -> Files:
    return {path: content for path, content in files.items() if path.name.startswith(post_id)}


def until(done: Callable[[], bool]) -> None:
    """The sweeper works in the background after the start."""
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def replace_database(data: Path, by: Path | None) -> None:
    for suffix in ("", "-wal", "-shm"):
        (data / (DATABASE + suffix)).unlink(missing_ok=True)
    if by is None:
        (data / DATABASE).touch()
    else:
        shutil.copy(by, data / DATABASE)


def begun_upload(api: Api, user: str) -> str:
    """An upload of 1,000 bytes, of which some are there."""
    content = b"\xff\xd8\xff\xe0" + bytes(96)
    tus = {"Tus-Resumable": "1.0.0"}
    made = api.send("POST", "/uploads", user, headers={**tus, "Upload-Length": "1000"})
    assert made.status_code == 201, made.text
    headers = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    path = made.headers["location"]
    assert api.send("PATCH", path, user, headers=headers, content=content).status_code == 204
    return str(path.rpartition("/")[2])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_database_of_no_bytes_deletes_nothing(data: Path, tmp_path: Path) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        for _ in range(2):
            api.ready("alice")
        begun_upload(api, "alice")
    before = files_in(data)
    assert len(before) == 2 * 3 + 2
    replace_database(data, None)
    with (tmp_path / "log").open("w") as log:
        server = start(LOCAL, "--data-dir", str(data), "--log-format", "json", log=log)
    until(lambda: not files_in(data))
    server.stop()
    assert quarantined(data) == before
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    (warned,) = [line for line in lines if line["level"] == "warning"]
    assert warned["files"] == len(before)
    assert "is it the right database?" in warned["event"]


def test_an_older_database_moves_aside_what_it_does_not_know_and_it_can_be_put_back(
    data: Path, tmp_path: Path
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
        until(lambda: files_in(data) == of(known, before))
        assert api.get(f"/posts/{known}/original", "alice").status_code == 200
    assert quarantined(data) == of(newer, before) | of(upload, before)
    put_back(data, tmp_path / "right.db")
    assert files_in(data) == before
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        post = api.get(f"/posts/{newer}").json()
        assert api.get(post["image"]["url"]).status_code == 200
        assert "BAD" not in Shell(server.url, tmp_path).run("doctor", "--data-dir", data).stdout


def put_back(data: Path, right: Path) -> None:
    """As docs/operations.md says; the doctor asks for it first."""
    shell = Shell("", data.parent)
    replace_database(data, right)
    told = shell.run("doctor", "--data-dir", data, code=1).stdout
    assert "BAD  quarantine 5 files, the oldest since " in told
    assert "2 posts lack theirs: put them back" in told
    for day in (data / "quarantine").iterdir():
        subprocess.run(["cp", "-an", f"{day}/.", data], check=True)
        subprocess.run(["rm", "-r", day], check=True)


def test_quarantine_ends_after_seven_days(data: Path) -> None:
    """Days are counted by the folders' names: the files' own times are of today."""
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        ids = [api.ready("alice")["id"] for _ in range(2)]
    replace_database(data, None)
    with local_server(data):
        until(lambda: not files_in(data))
    today = datetime.now(UTC).date()
    (moved,) = (data / "quarantine").iterdir()
    for post_id, days in zip(ids, (6, 9), strict=True):
        for path in list(of(post_id, files_in(moved))):
            target = data / "quarantine" / str(today - timedelta(days=days)) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (moved / path).rename(target)
    before = quarantined(data)
    with local_server(data):
        until(lambda: quarantined(data) != before and not of(ids[1], quarantined(data)))
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
        until(lambda: not files_in(data) and not quarantined(data))


def bury(data: Path, post_id: str) -> None:
    """What a deletion leaves when the process ends right after its transaction."""
    connection = sqlite3.connect(data / DATABASE)
    with connection:
        connection.execute("DELETE FROM posts WHERE id = ?", (post_id,))
        connection.execute("INSERT INTO tombstones VALUES (?, 'alice', 1, 1)", (post_id,))
    connection.close()
