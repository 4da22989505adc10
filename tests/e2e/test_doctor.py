"""`image-poster doctor`: what was damaged, lost or is out of order is told."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import LOCAL, local_server, refused, start
from support.shell import COMMAND, Shell

# The data folder itself, read-only, as a disk that is about to fail: mount(8), unshare(1).
MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
READ_ONLY = ("unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT)


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
    assert f"1 files are damaged or missing: {original} has changed content" in said
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


def read_only(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees the data folder on a read-only disk."""
    return subprocess.run(
        [*READ_ONLY, str(data), *COMMAND, *words, "--data-dir", str(data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def mountable(tmp_path: Path) -> None:
    done = subprocess.run([*READ_ONLY, str(tmp_path), "true"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.decode()}")


@pytest.mark.usefixtures("mountable")
def test_a_read_only_disk_is_examined_with_what_is_in_the_log_still(
    data: Path, tmp_path: Path
) -> None:
    """The server was killed: its last writes are in the write-ahead log only."""
    server = start(LOCAL, "--data-dir", str(data))
    with Api(server.url, LOCAL_EDITION) as api:
        post_id = api.ready("alice")["id"]
    server.kill()
    assert (data / "image_poster.db-wal").stat().st_size > 0
    shutil.copy(data / "image_poster.db", tmp_path / "without.db")
    with closing(sqlite3.connect(tmp_path / "without.db")) as connection:
        assert connection.execute("SELECT count(*) FROM posts").fetchone() == (0,)
    (data / "image_poster.db-shm").unlink()  # as on a copy of the disk
    (rendition,) = data.glob(f"renditions/*/{post_id}.600.jpg")
    rendition.unlink()
    before = sorted(data.rglob("*"))
    examined = read_only(data, "doctor", "--deep")
    assert "BAD  disk       read-only" in examined.stdout, examined
    assert "ok   database   quick_check: ok" in examined.stdout
    assert f"{rendition} is missing" in examined.stdout
    assert read_only(data, "failed").stdout == "nothing has failed\n"
    assert sorted(data.rglob("*")) == before


@pytest.mark.usefixtures("mountable")
@pytest.mark.parametrize(
    "words",
    [("serve", "--port", "0"), ("token", "alice"), ("rebuild",), ("failed", "--replay")],
    ids=" ".join,
)
def test_a_command_that_writes_is_refused_on_a_read_only_disk(
    data: Path, words: tuple[str, ...]
) -> None:
    with local_server(data):
        pass
    done = read_only(data, *words)
    assert done.returncode == 2, done
    assert done.stderr.startswith("image-poster: ")
    own_words = "Read-only file system" if words[0] == "token" else "is on a read-only disk"
    assert own_words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_another_user_left_and_what_is_not_private_is_told(data: Path, shell: Shell) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        api.ready("alice")
    (shard,) = (data / "originals").iterdir()
    for path, mode, fault in (
        (data / "cursor.key", 0o644, "is open to others (mode 0644)"),
        (data / "originals", 0o755, "is open to others (mode 0755)"),
        (shard, 0o500, "cannot be used by its owner (mode 0500)"),
    ):
        former = path.stat().st_mode
        path.chmod(mode)
        said = line_of(shell.run("doctor", "--data-dir", data, code=1).stdout, "owner")
        assert said.startswith("BAD")
        assert f"{path} {fault}" in said
        path.chmod(former)
    assert line_of(shell.run("doctor", "--data-dir", data).stdout, "owner").startswith("ok")


def test_a_link_to_a_data_folder_is_not_open_to_others(data: Path, shell: Shell) -> None:
    with local_server(data):
        pass
    link = data.with_name("link")
    link.symlink_to(data)
    assert line_of(shell.run("doctor", "--data-dir", link).stdout, "owner").startswith("ok")


def test_a_command_names_a_damaged_database(data: Path, shell: Shell) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        api.ready("alice")
    database = data / "image_poster.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = "SELECT rootpage FROM sqlite_master WHERE name = 'posts'"
        (page,) = connection.execute(root).fetchone()
    with database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"x" * 4096)
    said = shell.run("rebuild", "--data-dir", data, code=1).stderr
    assert f"the database {database} cannot be used" in said
    assert "Run `image-poster doctor`" in said


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
