"""`image-poster doctor`: what was damaged, lost or is out of order is told."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import local_server, refused
from support.shell import Shell


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell("", tmp_path)


def line_of(said: str, subject: str) -> str:
    return next(line for line in said.splitlines() if line[5:].startswith(subject))


def test_images_are_compared_with_what_they_were(data: Path, shell: Shell) -> None:
    """By their sizes, and only when asked to by their hashes."""
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        post_id = api.ready("alice")["id"]
    well = shell.run("doctor", "--deep", "--data-dir", data).stdout
    assert line_of(well, "images") == "ok   images     1 posts' sizes and hashes compared"
    (original,) = data.glob(f"originals/*/{post_id}")
    original.write_bytes(original.read_bytes()[:-1] + b"x")
    assert "ok   images" in shell.run("doctor", "--data-dir", data).stdout
    said = shell.run("doctor", "--deep", "--data-dir", data, code=1).stdout
    assert f"1 files are damaged or missing: {original} has another content" in said
    (rendition,) = data.glob(f"renditions/*/{post_id}.1600.jpg")
    rendition.write_bytes(b"short")
    assert (
        f"{rendition} has 5 bytes instead of"
        in shell.run("doctor", "--data-dir", data, code=1).stdout
    )
    rendition.unlink()
    assert f"{rendition} is missing" in shell.run("doctor", "--data-dir", data, code=1).stdout


def test_what_is_remembered_of_files_goes_with_their_post(data: Path) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        post_id = api.ready("alice")["id"]
        assert api.send("DELETE", f"/posts/{post_id}", "alice").status_code == 204
    with closing(sqlite3.connect(data / "image_poster.db")) as connection:
        assert connection.execute("SELECT count(*) FROM files").fetchone() == (0,)


def test_a_clock_behind_the_newest_post_is_told(data: Path, shell: Shell) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        api.ready("alice")
    assert line_of(shell.run("doctor", "--data-dir", data).stdout, "clock").startswith("ok")
    with closing(sqlite3.connect(data / "image_poster.db")) as connection, connection:
        connection.execute("UPDATE posts SET id = '7' || substr(id, 2)")
    said = shell.run("doctor", "--data-dir", data, code=1).stdout
    assert "s behind the newest post" in line_of(said, "clock")


def test_a_key_of_no_bytes_is_told_and_not_signed_with(data: Path) -> None:
    with local_server(data, "--auth", "jwt"):
        pass
    for name in ("cursor.key", "token.key"):
        content = (data / name).read_bytes()
        (data / name).write_bytes(b"")
        said = refused("--data-dir", str(data), "--port", "0", "--auth", "jwt")
        assert f"{name}" in said
        assert "damaged" in said
        (data / name).write_bytes(content)
