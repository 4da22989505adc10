"""The service knows its own data folder: no other folder is served, cleared or written to."""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from image_poster.domain.ids import is_id, new_id
from support import without_links
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import LOCAL, local_server, refused, running, start
from support.shell import Shell
from support.waiting import wait_until

WITHOUT_LINKS = (sys.executable, without_links.__file__, *LOCAL)
REFUSAL = "is not empty, and it is no data folder of this service"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell("", tmp_path / "state")


def tree(root: Path) -> dict[str, tuple[str, bytes]]:
    """Each entry below a folder, and the folder itself: its permissions and its content."""
    return {
        str(path.relative_to(root)): (
            stat.filemode(path.stat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [root, *root.rglob("*")]
    }


def write(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")


FOREIGN = [
    ("thesis.tex",),
    ("spool/thesis.tex", "metrics/year.db"),
    ("uploads/thesis.tex", "server.lock"),
    ("originals/a/b", "folder.json"),  # of another program
    ("manifest.json", "cursor.key", "server.lock"),  # of a backup
    ("image_poster.db", "thesis.tex"),  # somebody examines a copy
]


@pytest.mark.parametrize("names", FOREIGN, ids=" ".join)
def test_a_folder_of_somebody_else_is_not_served_and_stays_as_it_is(
    data: Path, names: tuple[str, ...]
) -> None:
    write(data, *names)
    data.chmod(0o755)
    before = tree(data)
    said = refused("--data-dir", str(data), "--port", "0", "--workers", "2")
    assert REFUSAL in said
    assert f"or a new one such as {data}/image-poster" in said
    assert "Nothing was changed." in said
    assert tree(data) == before


def test_no_command_changes_a_folder_of_somebody_else(
    data: Path, tmp_path: Path, shell: Shell
) -> None:
    write(data, "thesis.tex", "originals/xx/thesis.tex", "image_poster.db")
    write(tmp_path / "export", "README.txt")
    for name in ("posts.jsonl", "comments.jsonl"):
        (tmp_path / "export" / name).touch()
    before = tree(data)
    words = [("token", "alice"), ("token", "--revoke-all"), ("rebuild",), ("failed",)]
    words += [("failed", "--replay"), ("doctor", "--restore-quarantine")]
    words += [("import", str(tmp_path / "export"))]
    for command in words:
        said = shell.run(*command, "--data-dir", data, code=2).stderr
        assert "is not a data folder of this service" in said, command
    said = shell.run("doctor", "--data-dir", data, code=1).stdout
    assert "BAD  folder" in said
    assert "no data folder of this service" in said
    for copy in ("backup", "export"):
        said = shell.run(copy, tmp_path / f"{copy}-target", "--data-dir", data, code=1).stderr
        assert "file is not a database" in said
    assert tree(data) == before
    (data / "image_poster.db").unlink()
    before = tree(data)
    said = shell.run("import", tmp_path / "export", "--data-dir", data, code=2).stderr
    assert REFUSAL in said
    for command in words[:-1]:
        said = shell.run(*command, "--data-dir", data, code=2).stderr
        assert "there is no database in" in said, command
    assert tree(data) == before
    said = shell.run("doctor", "--data-dir", tmp_path / "nowhere", code=2).stderr
    assert "there is no folder" in said
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_disk_is_served_and_gets_an_id_that_stays(data: Path, shell: Shell) -> None:
    (data / "lost+found").mkdir(parents=True)
    ids = set()
    for _ in range(2):
        with local_server(data):
            ids.add(json.loads((data / "folder.json").read_bytes())["id"])
    (folder_id,) = ids
    assert is_id(folder_id)
    assert (
        f"ok   folder     its id is {folder_id}" in shell.run("doctor", "--data-dir", data).stdout
    )


def test_a_folder_of_a_former_version_gets_an_id_at_its_next_start(
    data: Path, tmp_path: Path, shell: Shell
) -> None:
    with local_server(data):
        pass
    (data / "folder.json").unlink()
    write(data, "notes of the operator.txt")
    assert "by an earlier version" in shell.run("doctor", "--data-dir", data).stdout
    assert shell.run("token", "alice", "--data-dir", data).stdout
    assert not (data / "folder.json").exists()
    with (tmp_path / "log").open("w") as log:
        assert start(LOCAL, "--data-dir", str(data), log=log).stop() == 0
    folder_id = json.loads((data / "folder.json").read_bytes())["id"]
    assert f'"id": "{folder_id}"' in (tmp_path / "log").read_text()


def test_a_first_start_that_broke_off_at_its_mark_is_repeated(data: Path) -> None:
    data.mkdir(exist_ok=True)
    for name in ("server.lock", "folder.json.new"):
        (data / name).touch()
    with local_server(data):
        assert is_id(json.loads((data / "folder.json").read_bytes())["id"])


@pytest.mark.parametrize(
    "content", ["", "{}", '{"format": 2, "id": "x"}', '{"format": 1, "id": "x"}']
)
def test_a_damaged_mark_is_told(data: Path, shell: Shell, content: str) -> None:
    with local_server(data):
        pass
    (data / "folder.json").write_text(content)
    for said in (
        refused("--data-dir", str(data), "--port", "0"),
        shell.run("token", "alice", "--data-dir", data, code=2).stderr,
        shell.run("doctor", "--data-dir", data, code=1).stdout,
    ):
        assert f"the mark {data}/folder.json" in said
        assert "delete it: the next start creates a new id" in said
    assert (data / "folder.json").read_text() == content


def test_only_leftovers_of_the_service_are_cleared(data: Path) -> None:
    with local_server(data):
        pass
    strangers = ["spool/thesis.tex", "spool/work/a", f"spool/{new_id()}.notes", "metrics/notes.txt"]
    leftovers = [f"spool/{new_id()}.0a1b2c3d", f"spool/{new_id()}.ab_cd123/600.jpg"]
    figures = ["metrics/counter_1.db", "metrics/gauge_livesum_22.db"]
    write(data, *strangers, *leftovers, *figures)
    with local_server(data, "--workers", "2"):
        wait_until(lambda: not any((data / name).exists() for name in leftovers))
    assert {name for name in strangers if (data / name).exists()} == set(strangers)
    assert not any((data / name).exists() for name in [*leftovers, *figures])


def test_a_change_of_the_folders_permissions_is_logged(data: Path, tmp_path: Path) -> None:
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    for number in range(2):
        with (tmp_path / f"log{number}").open("w") as log:
            assert start(LOCAL, "--data-dir", str(data), log=log).stop() == 0
    line = json.loads((tmp_path / "log0").read_text())
    assert (line["folder"], line["before"], line["after"]) == (str(data), "0755", "0700")
    assert (tmp_path / "log1").read_text() == ""


def test_a_file_system_without_hard_links_is_served(data: Path, shell: Shell) -> None:
    """The kernel refuses link(2), as it does on exFAT: uploads, images, quarantine, keys."""
    flags = ("--data-dir", str(data))
    with running(WITHOUT_LINKS, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        ready, deleted = (api.ready("alice")["id"] for _ in range(2))
        assert api.send("DELETE", f"/posts/{deleted}", "alice").status_code == 204
    (original,) = data.glob(f"originals/*/{ready}")
    orphan_id = new_id()
    orphan = data / "originals" / orphan_id[-2:] / orphan_id
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(original.read_bytes())
    with running(WITHOUT_LINKS, *flags, "--auth", "jwt", "--workers", "2"):
        wait_until(lambda: not orphan.exists())
        assert (data / "token.key").stat().st_mode & 0o777 == 0o600
    report = shell.run("doctor", *flags).stdout
    assert "BAD" not in report
    assert "1 files, the oldest since" in report


@contextmanager
def exfat(place: Path, *options: str) -> Iterator[Path]:
    """A disk with exFAT, mounted; skips the test where that cannot be."""
    mount = shutil.which("mount.exfat-fuse")
    if os.geteuid() != 0 or mount is None or shutil.which("mkfs.exfat") is None:
        pytest.skip("only root can mount exFAT, with exfatprogs and exfat-fuse")
    if not Path("/dev/fuse").exists():
        pytest.skip("there is no /dev/fuse here")
    image, disk = place / "disk.img", place / "disk"
    image.touch()
    os.truncate(image, 300_000_000)
    disk.mkdir()
    output("mkfs.exfat", str(image))
    loop = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if loop.returncode:
        pytest.skip(f"there is no loop device here: {loop.stderr.strip()}")
    device = loop.stdout.strip()
    try:
        output(mount, *options, device, str(disk))
        try:
            yield disk
        finally:
            output("umount", str(disk))
    finally:
        output("losetup", "--detach", device)


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_a_disk_with_exfat_is_served_if_it_is_private(tmp_path: Path) -> None:
    with exfat(tmp_path, "-o", "umask=077") as disk:
        with local_server(disk) as server, Api(server.url, LOCAL_EDITION) as api:
            post = api.ready("alice")
            api.comment(post["id"], "bob")
        with local_server(disk, "--workers", "2") as server, Api(server.url, LOCAL_EDITION) as api:
            assert api.get(post["image"]["url"]).status_code == 200
            assert api.send("DELETE", f"/posts/{post['id']}", "alice").status_code == 204
            assert api.get(post["image"]["url"]).status_code == 404


def test_a_disk_without_permissions_that_all_can_read_is_refused(tmp_path: Path) -> None:
    with exfat(tmp_path) as disk:
        said = refused("--data-dir", str(disk), "--port", "0")
        assert "stays open to others" in said
        assert "uid=USER,umask=077" in said


def test_several_starts_at_once_make_one_key(data: Path, shell: Shell) -> None:
    """Whoever is first makes it; nobody replaces it."""
    with local_server(data):
        pass
    with ThreadPoolExecutor(4) as pool:
        words = ("token", "alice", "--data-dir", data)
        tokens = [
            done.result().stdout for done in [pool.submit(shell.run, *words) for _ in range(4)]
        ]
    assert len(tokens) == 4
    assert sorted(path.name for path in data.glob("token.*")) == ["token.key"]


def test_a_file_system_without_shared_memory_is_told() -> None:
    """SQLite keeps another journal there, and reports no error; so it does in memory."""
    from image_poster.adapters.sqlite.database import LogUnsupportedError, connect

    with pytest.raises(LogUnsupportedError, match="the journal mode is memory"):
        connect(Path(":memory:"))


def test_what_the_database_has_is_there_without_a_mark(data: Path, tmp_path: Path) -> None:
    """A folder that an operator moved, mark and key lost, is served: nothing else is in it."""
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        post_id = api.ready("alice")["id"]
    for name in ("folder.json", "cursor.key", "keys.lock", "server.lock"):
        (data / name).unlink()
    data.rename(tmp_path / "moved")
    with local_server(tmp_path / "moved") as server, Api(server.url, LOCAL_EDITION) as api:
        assert api.get(f"/posts/{post_id}").status_code == 200
    with closing(sqlite3.connect(tmp_path / "moved" / "image_poster.db")) as connection:
        assert connection.execute("SELECT count(*) FROM posts").fetchone() == (1,)
