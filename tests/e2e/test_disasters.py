"""Rehearsed disasters: an operator names the wrong folder, a disk fails, somebody changes the
backup.

Each test reads the command's message, and then restores: every original must be there, byte for
byte.
"""

import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from image_poster.editions.local.checks import find_wrong_owners
from support import mounts, samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.forked import Outcome, become_user, kill_at, limit_files, run
from support.servers import local_server

SERVICE_USER = 4321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts disks and has users")
needs_mount = pytest.mark.skipif(bool(mounts.why_not()), reason=mounts.why_not())


class Once(NamedTuple):
    """A data folder with four posts, as `kill -9` left it; the same folder when it had two posts;
    and another service's folder, without any post."""

    data: Path
    early: Path
    other: Path


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    folder = tmp_path_factory.mktemp("once")
    folders = Once(folder / "data", folder / "early", folder / "other")
    with local_server(folders.data) as server, Api(server.url, LOCAL_EDITION) as api:
        for number in range(2):
            api.ready("alice", samples.jpeg(64 + number, 64))
    shutil.copytree(folders.data, folders.early)
    with local_server(folders.data) as server, Api(server.url, LOCAL_EDITION) as api:
        for number in range(2):
            post_id = api.ready("bob", samples.jpeg(80 + number, 64))["id"]
            api.comment(post_id, "alice")
        server.kill()
    assert (folders.data / "image_poster.db-wal").stat().st_size
    with local_server(folders.other):
        pass
    return folders


@pytest.fixture
def folder(tmp_path: Path, once: Once) -> Once:
    """A test's own copy."""
    copies = Once(*(tmp_path / path.name for path in once))
    for path, copy in zip(once, copies, strict=True):
        shutil.copytree(path, copy)
    return copies


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def originals(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data.glob("originals/*/*")}


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def back_up(data: Path, target: Path, *flags: str, **how: Any) -> Outcome:
    return run("backup", target, "--data-dir", data, *flags, **how)


def backed_up(data: Path, target: Path, *flags: str) -> str:
    """The name of the new generation."""
    outcome = back_up(data, target, *flags)
    assert outcome.code == 0, outcome
    return outcome.stdout.partition("generation ")[2].partition(",")[0]


def assert_restores(source: Path, data: Path, *flags: str) -> Path:
    """`restore` returns every original of the data folder, and a row for each."""
    restored = Path(tempfile.mkdtemp(dir=source.parent)) / "restored"
    outcome = run("restore", source, "--data-dir", restored, *flags)
    assert outcome.code == 0, outcome
    assert originals(restored) == originals(data)
    with closing(sqlite3.connect(restored / "image_poster.db")) as database:
        rows = database.execute("SELECT id FROM posts WHERE status = 'ready'").fetchall()
    assert {row[0] for row in rows} == set(originals(data))
    assert not list(restored.glob("*-wal"))
    return restored


def assert_refused(
    said: str, data: Path, target: Path, override: str = "", words: str = "Nothing was changed"
) -> None:
    """`backup` refuses with these words, names the override, and changes nothing."""
    before = tree(target)
    outcome = back_up(data, target)
    assert outcome.code == 1, outcome
    assert said in outcome.stderr
    assert words in outcome.stderr
    assert override in outcome.stderr
    assert tree(target) == before


def put_database(source: Path, data: Path) -> None:
    for path in data.glob("image_poster.db*"):
        path.unlink()
    for path in source.glob("image_poster.db*"):
        shutil.copy(path, data)


# The source is the wrong one.


def test_an_empty_service_where_the_disk_is_not_mounted_replaces_nothing(
    folder: Once, target: Path
) -> None:
    backed_up(folder.data, target)
    said = f"{target} holds backups of another data folder"
    assert_refused(said, folder.other, target, "--allow-other-source")
    assert_restores(target, folder.data)


def test_an_emptied_database_with_the_same_id_replaces_nothing(folder: Once, target: Path) -> None:
    backed_up(folder.data, target)
    shutil.copy(folder.data / "folder.json", folder.other)
    said = "the data folder has 0 posts with their originals"
    assert_refused(said, folder.other, target, "--allow-loss")
    assert backed_up(folder.other, target, "--allow-loss")
    (first, _) = sorted(path.name for path in target.iterdir() if path.is_dir())
    assert_restores(target, folder.data, "--generation", first)


def test_a_database_of_no_bytes_replaces_nothing(folder: Once, target: Path) -> None:
    backed_up(folder.data, target)
    lost = folder.data.with_name("lost")
    shutil.copytree(folder.data, lost)
    for path in lost.glob("image_poster.db-*"):
        path.unlink()
    (lost / "image_poster.db").write_bytes(b"")
    assert_refused("is new or empty", lost, target)
    assert_restores(target, folder.data)


def test_originals_whose_disk_is_not_mounted_replace_nothing(folder: Once, target: Path) -> None:
    backed_up(folder.data, target)
    lost = folder.data.with_name("lost")
    shutil.copytree(folder.data, lost)
    shutil.rmtree(lost / "originals")
    said = "the data folder has 0 posts with their originals"
    assert_refused(said, lost, target, "--allow-loss")
    assert_restores(target, folder.data)


def test_a_source_that_lacks_one_original_deletes_no_earlier_generation(
    folder: Once, target: Path
) -> None:
    first = backed_up(folder.data, target)
    lost = folder.data.with_name("lost")
    shutil.copytree(folder.data, lost)
    original = next(lost.glob("originals/*/*"))
    original.unlink()
    outcome = back_up(lost, target, "--keep", "1")
    assert outcome.code == 1
    assert original.name in outcome.stderr
    assert "All earlier generations were kept" in outcome.stderr
    assert_restores(target, folder.data, "--generation", first)


def test_two_services_do_not_share_a_target_by_mistake(folder: Once, target: Path) -> None:
    first = backed_up(folder.data, target)
    assert_refused("another data folder", folder.other, target, "--allow-other-source")
    backed_up(folder.other, target, "--allow-other-source", "--keep", "1")
    assert_restores(target, folder.data, "--generation", first)
    assert_restores(target, folder.other)
    assert_refused("another data folder", folder.data, target, "--allow-other-source")


def test_an_older_database_replaces_nothing(folder: Once, target: Path) -> None:
    backed_up(folder.data, target)
    put_database(folder.early, folder.data)
    expected = folder.data.with_name("expected")
    shutil.copytree(folder.data, expected)
    said = "2 of its posts are missing, and no user deleted them"
    assert_refused(said, folder.data, target, "--allow-loss")
    assert_restores(target, expected)
    assert backed_up(folder.data, target, "--allow-loss")


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("UPDATE feed_clock SET epoch = epoch + 1", "UPDATE feed_clock SET epoch = epoch - 1"),
        ("PRAGMA user_version = 99", "PRAGMA user_version = 98"),
    ],
    ids=["comments", "schema"],
)
def test_a_database_that_is_older_with_the_same_posts_replaces_nothing(
    folder: Once, target: Path, newer: str, older: str
) -> None:
    with closing(sqlite3.connect(folder.data / "image_poster.db")) as database:
        database.execute(newer)
        database.commit()
        backed_up(folder.data, target)
        database.execute(older)
        database.commit()
    said = "the database is older than its last backup"
    assert_refused(said, folder.data, target, "--allow-loss")
    assert_restores(target, folder.data)


def test_deleted_posts_are_no_loss(folder: Once, target: Path) -> None:
    backed_up(folder.early, target)
    gone = next(folder.early.glob("originals/*/*")).name
    with local_server(folder.early) as server, Api(server.url, LOCAL_EDITION) as api:
        assert api.send("DELETE", f"/posts/{gone}", "alice").status_code == 204
    backed_up(folder.early, target)
    assert_restores(target, folder.early)


# The target is the wrong one, or fails.


def test_the_files_of_strangers_stay(folder: Once, target: Path) -> None:
    (target / "x.new").mkdir(parents=True)
    for name in ("thesis.new", "image_poster-1.db", "x.new/y.new", "manifest.json"):
        (target / name).write_text("a stranger's")
    before = tree(target)
    said = f"{target} is not empty, and no backup of this service"
    assert_refused(said, folder.data, target, "--allow-other-files")
    for _ in range(3):
        backed_up(folder.data, target, "--allow-other-files", "--keep", "1")
    after = tree(target)
    assert {name: after[name] for name in before} == before
    assert_restores(target, folder.data)


@needs_mount
@pytest.mark.parametrize("free", [0, 8_192, 300_000], ids=lambda free: f"{free} bytes free")
def test_a_full_target_leaves_the_earlier_generations_whole(
    folder: Once, target: Path, free: int
) -> None:
    target.mkdir()
    for number, original in enumerate(folder.data.glob("originals/*/*")):
        if original.name not in originals(folder.early):
            original.write_bytes(original.read_bytes() + bytes(200_000 + number))
    with mounted(target, "-t", "tmpfs", "-o", "size=2m", "disk"):
        first = backed_up(folder.early, target)
        disk = os.statvfs(target)
        (target / "stranger").write_bytes(bytes(disk.f_bavail * disk.f_frsize - free))
        outcome = back_up(folder.data, target)
        assert outcome.code == 1, outcome
        assert "failed: the disk is full. The earlier backups are complete" in outcome.stderr
        assert [path.name for path in target.iterdir() if path.is_dir()] == [first]
        assert_restores(target, folder.early)
        (target / "stranger").unlink()
        backed_up(folder.data, target)
        assert_restores(target, folder.data)


def test_a_target_that_fails_in_the_middle_of_a_file_leaves_no_half_generation(
    folder: Once, target: Path
) -> None:
    large = next(folder.data.glob("originals/*/*"))
    large.write_bytes(large.read_bytes() + bytes(2_000_000))
    first = backed_up(folder.early, target)
    outcome = back_up(folder.data, target, prepare=limit_files(1_000_000))
    assert outcome.code == 1, outcome
    assert "failed: " in outcome.stderr
    assert "Run the command again" in outcome.stderr
    assert [path.name for path in target.iterdir() if path.is_dir()] == [first]
    backed_up(folder.data, target)
    assert_restores(target, folder.data)


def test_kill_minus_nine_at_any_moment_leaves_every_generation_restorable(
    folder: Once, target: Path
) -> None:
    """Also a moment of the removal of old generations; strangers' files stay."""
    backed_up(folder.early, target)
    (target / "thesis.new").write_text("a stranger's")
    ended = False
    moments = [*range(1, 12), *range(12, 400, 7)]
    for moment in moments:
        now = target.with_name(f"target-{moment}")
        shutil.copytree(target, now)
        killed = back_up(folder.data, now, "--keep", "1", prepare=kill_at(moment))
        ended = killed.code == 0
        assert killed.code in (-9, 0), killed
        newest = folder.data if is_complete(now, 2) else folder.early
        assert_restores(now, newest)
        backed_up(folder.data, now, "--keep", "1")
        assert_restores(now, folder.data)
        assert len([path for path in now.iterdir() if path.is_dir()]) == 1
        assert (now / "thesis.new").read_text() == "a stranger's"
        shutil.rmtree(now)
        if ended:
            break
    assert ended


def is_complete(target: Path, number: int) -> bool:
    manifests = (json.loads(path.read_bytes()) for path in target.glob("*/manifest.json"))
    return any(manifest["number"] == number for manifest in manifests)


# Somebody changed the backup.


def edit(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def tamper(generation: Path) -> None:
        manifest = json.loads((generation / "manifest.json").read_bytes())
        change(manifest)
        (generation / "manifest.json").write_text(json.dumps(manifest))

    return tamper


def name_it(path: str) -> Callable[[Path], None]:
    """Give the first file of the manifest another path."""
    return edit(lambda manifest: manifest["files"][0].update(path=path))


def link(pattern: str, to: str) -> Callable[[Path], None]:
    def tamper(generation: Path) -> None:
        (place,) = list(generation.glob(pattern))[:1]
        if place.is_dir():
            shutil.move(place, generation.parent.parent / "moved")
        else:
            place.unlink()
        place.symlink_to(generation.parent.parent / to)

    return tamper


def change_bytes(generation: Path) -> None:
    original = next(generation.glob("originals/*/*"))
    content = original.read_bytes()
    original.unlink()
    original.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


TAMPERED: dict[str, tuple[Callable[[Path], None], str]] = {
    "up": (name_it("../victim"), "which is no file of a data folder"),
    "up later": (name_it("originals/../../victim"), "which is no file of a data folder"),
    "absolute": (name_it("/tmp/victim"), "which is no file of a data folder"),
    "another name": (name_it("image_poster.db-wal"), "which is no file of a data folder"),
    "another shard": (
        name_it("originals/00/01K00000000000000000000001"),
        "which is no file of a data folder",
    ),
    "twice": (
        edit(lambda manifest: manifest["files"].append(manifest["files"][0])),
        "it names a file twice",
    ),
    "database": (
        edit(lambda manifest: manifest["database"].update(path="../victim")),
        "which is no file of a data folder",
    ),
    "no hash": (edit(lambda manifest: manifest["files"][0].update(sha256="")), "is damaged"),
    "size": (edit(lambda manifest: manifest["files"][0].update(size=-1)), "is damaged"),
    "bytes": (change_bytes, "has another content than in the backup"),
    "link": (link("originals/*/*", "victim"), "is a link"),
    "linked folder": (link("originals", "data/originals"), "a part of it is a link"),
    "key": (link("cursor.key", "victim"), "is a link"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_generation_that_somebody_changed_is_refused(
    folder: Once, target: Path, case: str
) -> None:
    tamper, said = TAMPERED[case]
    victim = target.parent / "victim"
    victim.write_text("a stranger's")
    first = backed_up(folder.data, target)
    second = backed_up(folder.data, target)
    tamper(target / second)
    before = tree(target.parent)
    restored = target.parent / "restored"
    outcome = run("restore", target, "--data-dir", restored)
    assert outcome.code == 1, outcome
    assert said in outcome.stderr
    assert "--generation" in outcome.stderr
    assert not restored.exists()
    assert tree(target.parent) == before
    assert_restores(target, folder.data, "--generation", first)


def replace_manifest(content: bytes) -> Callable[[Path], None]:
    def tamper(generation: Path) -> None:
        (generation / "manifest.json").write_bytes(content)

    return tamper


UNREADABLE: dict[str, Callable[[Path], None]] = {
    "not UTF-8": replace_manifest(b'{"format": 2, "source": "\xff"}'),
    "nested": replace_manifest(b'{"format": 2, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "no id": edit(lambda manifest: manifest.update(source="../victim")),
    "largest number": edit(lambda manifest: manifest.update(number=2**63 - 1)),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_manifest_that_cannot_be_read_hides_no_other_generation(
    folder: Once, target: Path, case: str
) -> None:
    backed_up(folder.data, target)
    second = backed_up(folder.data, target)
    UNREADABLE[case](target / second)
    restored = target.parent / "restored"
    outcome = run("restore", target, "--data-dir", restored)
    assert outcome.code == 0, outcome
    assert f"the manifest {target / second / 'manifest.json'}" in outcome.stderr
    assert (restored / "folder.json").read_bytes() == (folder.data / "folder.json").read_bytes()
    third = backed_up(folder.data, target)
    again = run("restore", target, "--data-dir", target.parent / "again")
    assert f"(generation {third})" in again.stdout
    assert originals(target.parent / "again") == originals(folder.data)


def test_a_number_that_leaves_no_later_one_ends_the_backup(folder: Once, target: Path) -> None:
    name = backed_up(folder.data, target)
    edit(lambda manifest: manifest.update(number=10**9))(target / name)
    assert_refused("no later number is left", folder.data, target, words=name)
    assert_restores(target, folder.data)


@pytest.mark.parametrize(
    "case", ["up", "up later", "absolute", "database", "linked folder", "link"]
)
def test_the_removal_of_a_changed_generation_removes_nothing_outside_of_it(
    folder: Once, target: Path, case: str
) -> None:
    victim = target.parent / "victim"
    victim.write_text("a stranger's")
    first = backed_up(folder.data, target)
    backed_up(folder.data, target)
    TAMPERED[case][0](target / first)
    data, last = tree(folder.data), backed_up(folder.data, target, "--keep", "1")
    assert victim.read_text() == "a stranger's"
    assert tree(folder.data) == data
    assert_restores(target, folder.data, "--generation", last)


def test_a_mark_that_names_a_folder_outside_removes_nothing(folder: Once, target: Path) -> None:
    backed_up(folder.data, target)
    mark = json.loads((target / "backup.json").read_bytes())
    shutil.copytree(folder.early, target.parent / "victim")
    before = tree(target.parent / "victim")
    (target / "backup.json").write_text(json.dumps({**mark, "unfinished": "../victim"}))
    outcome = back_up(folder.data, target)
    assert outcome.code == 1
    assert "is damaged. Nothing was changed" in outcome.stderr
    assert tree(target.parent / "victim") == before
    assert_restores(target, folder.data)


@pytest.mark.parametrize("name", ["backup.lock", "backup.json", "backup.json.new"])
def test_a_link_in_the_target_leads_nowhere(folder: Once, target: Path, name: str) -> None:
    first = backed_up(folder.data, target)
    victim = target.parent / "victim"
    victim.write_text("a stranger's")
    (target / name).unlink(missing_ok=True)
    (target / name).symlink_to(victim)
    outcome = back_up(folder.data, target)
    assert outcome.code == (0 if name == "backup.json.new" else 1), outcome
    assert victim.read_text() == "a stranger's"
    assert_restores(target, folder.data, "--generation", first)


def test_two_backups_to_one_target_do_not_run_at_once(folder: Once, target: Path) -> None:
    backed_up(folder.data, target)
    before = tree(target)
    with (target / "backup.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = back_up(folder.data, target)
    assert outcome.code == 1
    assert f"another backup to {target} is running" in outcome.stderr
    assert tree(target) == before


def test_a_restore_that_is_killed_leaves_no_folder_that_starts(folder: Once, target: Path) -> None:
    backed_up(folder.data, target)
    for moment in range(1, 400, 9):
        restored = target.with_name(f"restored-{moment}")
        killed = run("restore", target, "--data-dir", restored, prepare=kill_at(moment))
        if (restored / "image_poster.db").exists():
            assert originals(restored) == originals(folder.data)
        if killed.code == 0:
            break
        assert killed.code == -9
    else:
        pytest.fail("no restore came to its end")


@pytest.mark.parametrize("command", ["restore", "import"])
def test_a_new_data_folder_in_an_open_folder_is_private(
    folder: Once, target: Path, command: str
) -> None:
    copy = "backup" if command == "restore" else "export"
    assert run(copy, target, "--data-dir", folder.data).code == 0
    restored = target.parent / "restored"
    restored.mkdir()
    restored.chmod(0o755)
    outcome = run(command, target, "--data-dir", restored)
    assert outcome.code == 0, outcome
    assert f"{restored} was open to others" in outcome.stderr
    assert {path.stat().st_mode & 0o077 for path in (restored, *restored.rglob("*"))} == {0}
    assert find_wrong_owners(restored).ok


# Root, and disks that cannot be written to.


@contextmanager
def mounted(place: Path, *words: str | Path) -> Iterator[None]:
    subprocess.run(["mount", *map(str, words), str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def give(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.lchown(path, SERVICE_USER, SERVICE_USER)


@needs_root
def test_root_leaves_no_files_of_root_to_the_service_user(once: Once, readable: Path) -> None:
    data, target, restored = (readable / name for name in ("data", "target", "restored"))
    shutil.copytree(once.data, data)
    target.mkdir()
    restored.mkdir()
    for folder in (data, target, restored):
        give(folder)
    assert "generation" in back_up(data, target).stdout
    assert {*owners(data), *owners(target)} == {SERVICE_USER}
    later = back_up(data, target, prepare=become_user(SERVICE_USER))
    assert later.code == 0, later
    assert "; 0 files copied" in later.stdout
    back = run("restore", target, "--data-dir", restored)
    assert back.code == 0, back
    assert owners(restored) == {SERVICE_USER}
    assert originals(restored) == originals(data)
    assert "belongs to" not in find_wrong_owners(restored).remark


@needs_root
def test_a_backup_of_root_is_restored_by_root_into_the_service_users_folder(
    once: Once, readable: Path
) -> None:
    data, target, restored = (readable / name for name in ("data", "target", "restored"))
    shutil.copytree(once.data, data)
    give(data)
    assert back_up(data, target).code == 0
    assert (owners(data), owners(target)) == ({SERVICE_USER}, {0})
    restored.mkdir()
    give(restored)
    back = run("restore", target, "--data-dir", restored, "--keep-tokens")
    assert back.code == 0, back
    assert owners(restored) == {SERVICE_USER}
    assert originals(restored) == originals(data)


@needs_mount
@pytest.mark.parametrize("side_files", ["-wal and -shm", "-wal", "none"])
def test_a_read_only_disk_is_backed_up_and_exported_with_the_writes_in_its_log(
    once: Once, tmp_path: Path, target: Path, side_files: str
) -> None:
    data, expected = tmp_path / "disk", tmp_path / "data"
    for folder in (data, expected):
        shutil.copytree(once.data, folder)
    if side_files == "-wal":
        (data / "image_poster.db-shm").unlink()
    if side_files == "none":
        with closing(sqlite3.connect(data / "image_poster.db")) as database:
            database.execute("SELECT count(*) FROM posts").fetchone()
        assert not (data / "image_poster.db-wal").exists()
    before = tree(data)
    with read_only(data):
        backed_up(data, target)
        backed_up(data, target)
        assert_restores(target, expected)
        done = run("export", tmp_path / "export", "--data-dir", data)
        assert done.code == 0, done
        assert "4 posts, 2 comments" in done.stdout
    assert tree(data) == before
    exported = (tmp_path / "export" / "originals").iterdir()
    assert {path.read_bytes() for path in exported} == set(originals(expected).values())


@needs_mount
def test_a_service_is_backed_up_through_a_read_only_mount(
    once: Once, tmp_path: Path, target: Path
) -> None:
    data, view = tmp_path / "data", tmp_path / "view"
    shutil.copytree(once.data, data)
    view.mkdir()
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        with mounted(view, "--bind", data):
            subprocess.run(["mount", "-o", "remount,bind,ro", str(view)], check=True)
            api.ready("carol")
            backed_up(view, target)
        assert_restores(target, data)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    with mounted(folder, "--bind", folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
