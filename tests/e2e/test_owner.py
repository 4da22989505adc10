"""Commands act as the owner of the data folder, whoever calls them; and one post whose files are
somebody else's stops no queue."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import image_poster
from support import users
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import Server, refused, start
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(users.why_not()), reason=users.why_not())

STRANGER = ("setpriv", "--reuid=65533", "--regid=65533", "--clear-groups")


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can pass; pytest's own are root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="image-poster-owner-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def data(place: Path) -> Path:
    """A data folder that belongs to a service user."""
    folder = place / "data"
    folder.mkdir()
    os.chown(folder, users.NOBODY, users.NOBODY)
    return folder


@contextmanager
def served(data: Path, *flags: str, by: tuple[str, ...] = users.AS_NOBODY) -> Iterator[Server]:
    command = (*by, *users.image_poster_command(), "serve")
    server = start(
        command, "--data-dir", str(data), *flags, PYTHONPATH=users.VARIABLES["PYTHONPATH"]
    )
    try:
        yield server
    finally:
        server.stop()


def owners(data: Path) -> set[int]:
    return {path.lstat().st_uid for path in [data, *data.rglob("*")]}


def an_export(data: Path, target: Path) -> Path:
    """An export of a post, made from another service."""
    other = data.parent / "other"
    other.mkdir()
    with served(other, by=()) as server, Api(server.url, LOCAL_EDITION) as api:
        api.comment(api.ready("alice")["id"], "bob")
    users.run("export", target, "--data-dir", other)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def test_what_root_does_in_a_users_folder_leaves_nothing_of_roots(data: Path, place: Path) -> None:
    source, words = an_export(data, place / "export"), ("--data-dir", data)
    with served(data, "--auth", "jwt"):
        for name in ("token.key", "cursor.key", "keys.lock"):
            (data / name).unlink(missing_ok=True)
        users.run("token", "alice", *words)
        users.run("token", "--revoke-all", *words)
        users.run("import", source, *words)
    # Nobody serves: the database's log and lock are whoever's opens it first.
    for command in (("rebuild",), ("failed",), ("failed", "--replay"), ("doctor", "--deep")):
        users.run(*command, *words)
    users.run("doctor", "--restore-quarantine", *words)
    for name in ("export", "backup"):
        users.run(name, place / "copies" / name, *words)
    users.run("import", source, *words)
    assert owners(data) == {users.NOBODY}
    with served(data, by=()) as server, Api(server.url, LOCAL_EDITION) as api:  # by root
        wait_until(lambda: bool(api.feed()["posts"]))
        assert owners(data) == {users.NOBODY}
        assert "BAD" not in users.run("doctor", *words)


def test_another_user_than_the_owner_is_refused(data: Path) -> None:
    with served(data):
        for command in (("token", "alice"), ("doctor",), ("rebuild",), ("failed",)):
            said = users.run(*command, "--data-dir", data, code=2, by=STRANGER)
            assert f"data_dir {data} belongs to nobody" in said
            assert "Run it as nobody, or as root." in said
    said = users.run("serve", "--data-dir", data, code=2, by=STRANGER)
    assert f"data_dir {data} belongs to nobody" in said


def test_an_export_that_the_owner_cannot_read_is_told(data: Path, place: Path) -> None:
    source = an_export(data, place / "export")
    before = owners(data)
    (image,) = (source / "originals").iterdir()
    for path, mode in ((image, 0o600), (source / "posts.jsonl", 0o600), (source, 0o700)):
        path.chmod(mode)
        said = users.run("import", source, "--data-dir", data, code=1)
        assert f"nobody, the owner of the data folder, must be able to read {source}" in said
    assert owners(data) == before
    assert list(data.iterdir()) == []


def test_a_folder_that_its_owner_cannot_reach_is_told(data: Path, place: Path) -> None:
    with served(data):
        pass
    place.chmod(0o700)
    said = users.run("rebuild", "--data-dir", data, code=2)
    assert "belongs to nobody, who cannot reach it" in said


@pytest.mark.parametrize(
    ("folder", "status"), [("renditions", 500), ("originals", 204), ("uploads", 204)]
)
def test_a_deletion_that_fails_stops_no_other_and_is_made_up_for(
    data: Path, folder: str, status: int
) -> None:
    """As a command of root's left it in a former version: a folder of files that is root's."""
    with served(data) as server, Api(server.url, LOCAL_EDITION) as api:
        failing, *others = (api.ready("alice") for _ in range(3))
        api.comment(failing["id"], "bob")
        post_id, image = failing["id"], failing["image"]["url"]
        shard = data / folder / post_id[-2:]
        shard.mkdir(exist_ok=True)
        roots(shard)
        assert api.send("DELETE", f"/posts/{post_id}", "alice").status_code == status
        assert api.get(image).status_code == 404
        renditions = list((data / "renditions").glob(f"*/{post_id}.*"))
        assert bool(renditions) == (folder == "renditions")
        for other in others:
            assert api.send("DELETE", f"/posts/{other['id']}", "alice").status_code == 204
        wait_until(lambda: pending(data) == [post_id])
        assert 'image_poster_work_failures_total{work="purging"}' in api.get("/metrics").text
        age(data)
        said = users.run("doctor", "--data-dir", data, code=1)
        assert (
            f"BAD  deletions  1 deletions fail: {post_id}; the log of the server says why" in said
        )
        assert f"{shard} belongs to root; as root: chown -R nobody {data}" in said
        os.chown(shard, users.NOBODY, users.NOBODY)
        assert api.send("DELETE", f"/posts/{post_id}", "alice").status_code == 204
        assert not list(data.rglob(f"*{post_id}*"))
        wait_until(lambda: pending(data) == [])
        assert "BAD" not in users.run("doctor", "--data-dir", data)


def roots(folder: Path) -> None:
    os.chown(folder, 0, 0)
    folder.chmod(0o700)


def pending(data: Path) -> list[str]:
    with closing(sqlite3.connect(data / "image_poster.db")) as connection:
        rows = connection.execute("SELECT id FROM tombstones WHERE pending = 1").fetchall()
    return [row[0] for row in rows]


def age(data: Path) -> None:
    """Deletions are of an hour ago."""
    with closing(sqlite3.connect(data / "image_poster.db")) as connection, connection:
        connection.execute("UPDATE tombstones SET deleted_at = deleted_at - 3600000")


def test_a_start_and_its_sweep_pass_folders_that_are_roots(data: Path) -> None:
    """One file in quarantine cannot be put back; another is. One folder cannot be swept."""
    with served(data) as server, Api(server.url, LOCAL_EDITION) as api:
        posts = [api.ready("alice")["id"] for _ in range(2)]
    moved = {}
    for post_id in posts:
        (original,) = data.glob(f"originals/*/{post_id}")
        target = data / "quarantine" / str(datetime.now(UTC).date()) / original.relative_to(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        moved[post_id] = (original, target)
        original.rename(target)
    for folder in (data / "quarantine").rglob("*"):
        os.chown(folder, users.NOBODY, users.NOBODY)
    (there, _), (back, _) = moved[posts[0]], moved[posts[1]]
    roots(there.parent)
    unreadable = data / "uploads" / "zz"
    unreadable.mkdir(mode=0o700, exist_ok=True)
    with served(data):
        assert back.exists()
        assert not there.exists()
    said = users.run("doctor", "--restore-quarantine", "--data-dir", data, code=2)
    assert "0 files were put back; 1 posts failed, the first with:" in said
    os.chown(there.parent, users.NOBODY, users.NOBODY)
    users.run("doctor", "--restore-quarantine", "--data-dir", data, code=1)  # `zz` is root's still
    assert there.exists()


def test_a_new_folder_belongs_to_the_caller(place: Path) -> None:
    os.chown(place, users.NOBODY, users.NOBODY)
    source = an_export(place / "data", place / "export")
    users.run("import", source, "--data-dir", place / "new", by=users.AS_NOBODY)
    assert owners(place / "new") == {users.NOBODY}
    assert refused("--data-dir", str(place / "export"), "--port", "0")


def test_a_program_that_only_root_can_read_works_for_root(
    data: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = an_export(data, place / "export")
    private = place / "private"
    shutil.copytree(Path(image_poster.__file__).parent, private / "image_poster")
    private.chmod(0o700)
    path = os.pathsep.join([str(private), users.VARIABLES["PYTHONPATH"].partition(os.pathsep)[2]])
    monkeypatch.setitem(users.VARIABLES, "PYTHONPATH", path)
    words = ("--data-dir", data)
    users.run("import", source, *words)
    for command in (("rebuild",), ("failed",), ("token", "alice")):
        users.run(*command, *words)
    for name in ("doctor", "serve"):  # they start processes
        assert "nobody, who cannot read the program" in users.run(name, *words, code=2)
    assert owners(data) == {users.NOBODY}


def test_an_export_of_root_belongs_to_the_owner_of_its_folder(data: Path, place: Path) -> None:
    source, target = an_export(data, place / "export"), place / "target"
    users.run("import", source, "--data-dir", data)
    target.mkdir()
    os.chown(target, users.NOBODY, users.NOBODY)
    users.run("export", target, "--data-dir", data)
    assert owners(target) == {users.NOBODY}
    assert {path.stat().st_mode & 0o077 for path in target.rglob("*")} == {0}


def test_a_doctor_that_cannot_read_the_images_names_their_owner(data: Path) -> None:
    with served(data):
        pass
    os.chown(data / "originals", 0, 0)
    said = users.run("doctor", "--data-dir", data, code=1)
    assert f"{data / 'originals'} belongs to root" in said
    assert f"cannot be examined: Permission denied: {data / 'originals'}" in said


@pytest.mark.parametrize("name", ["backup", "export"])
def test_a_copy_by_another_user_names_the_owner(data: Path, place: Path, name: str) -> None:
    with served(data):
        pass
    words = (name, place / "copy", "--data-dir", data)
    said = users.run(*words, by=STRANGER, code=2)
    assert f"data_dir {data} belongs to nobody, and user 65533 cannot read it" in said
    assert not (place / "copy").exists()
