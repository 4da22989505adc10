"""Generations of a backup: their order, their links, the former version's, and the identity that a
restored folder takes over."""

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from support import mounts, samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.forked import become_user, run
from support.servers import local_server

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts disks and has users")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("once") / "data"
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        for number in range(3):
            api.ready("alice", samples.jpeg(64 + number, 64))
    return data


@pytest.fixture
def data(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "data"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def back_up(data: Path, target: Path, *flags: str) -> str:
    done = run("backup", target, "--data-dir", data, *flags)
    assert done.code == 0, done
    return done.stdout


def restore(target: Path, name: str, *flags: str) -> Path:
    restored = target.parent / name
    done = run("restore", target, "--data-dir", restored, *flags)
    assert done.code == 0, done
    return restored


def generations(target: Path) -> list[str]:
    return sorted(path.name for path in target.iterdir() if path.is_dir())


def originals(data: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in data.glob("originals/*/*")}


def id_of(data: Path) -> str:
    return str(json.loads((data / "folder.json").read_bytes())["id"])


def test_a_generation_of_a_clock_that_went_back_is_the_newest(data: Path, target: Path) -> None:
    back_up(data, target)
    (first,) = generations(target)
    (target / first).rename(target / "2099-01-01T00-00-00.000Z")
    (data / "token.key").write_text("newer")
    back_up(data, target)
    restored = restore(target, "restored", "--keep-tokens")
    assert (restored / "token.key").read_text() == "newer"
    back_up(data, target, "--keep", "1")
    assert "2099-01-01T00-00-00.000Z" not in generations(target)


def test_a_restored_folder_keeps_its_id_and_goes_on_with_its_backups(
    data: Path, target: Path
) -> None:
    back_up(data, target)
    restored = restore(target, "restored")
    assert id_of(restored) == id_of(data)
    assert "; 1 files copied" in back_up(restored, target)  # folder.json


def test_new_id_makes_another_source(data: Path, target: Path) -> None:
    back_up(data, target)
    restored = restore(target, "restored", "--new-id")
    assert id_of(restored) != id_of(data)
    assert not (restored / "cursor.key").exists()
    refused = run("backup", target, "--data-dir", restored)
    assert (refused.code, "another data folder" in refused.stderr) == (1, True)
    back_up(restored, target.with_name("its own"))


def test_a_revoked_token_stays_revoked(data: Path, target: Path) -> None:
    run("token", "alice", "--data-dir", data)
    back_up(data, target)
    revoked = (data / "token.key").read_bytes()
    run("token", "--revoke-all", "--data-dir", data)
    (data / "revocations.json").write_text('{"bob": "a1"}')
    back_up(data, target)
    first = generations(target)[0]
    assert not (restore(target, "new key") / "token.key").exists()
    keeping = [
        restore(target, "kept", "--keep-tokens"),
        restore(target, "older", "--keep-tokens", "--generation", first),
        restore(target / first, "../by its folder", "--keep-tokens"),
    ]
    for folder in keeping:
        assert (folder / "token.key").read_bytes() == (data / "token.key").read_bytes() != revoked
        assert (folder / "revocations.json").read_text() == '{"bob": "a1"}'
    with local_server(keeping[0], "--auth", "jwt"):
        pass


def test_one_generation_copied_elsewhere_is_restorable(data: Path, target: Path) -> None:
    back_up(data, target)
    lone = target.with_name("elsewhere")
    shutil.copytree(target / generations(target)[0], lone)
    assert originals(restore(lone, "restored")) == originals(data)
    refused = run("backup", lone, "--data-dir", data)
    assert (refused.code, "no backup of this service" in refused.stderr) == (1, True)


def test_an_unknown_generation_is_answered_with_the_known_ones(data: Path, target: Path) -> None:
    back_up(data, target)
    done = run("restore", target, "--data-dir", data.with_name("x"), "--generation", "yesterday")
    assert done.code == 2
    assert f"has no generation yesterday. It has {generations(target)[0]}" in done.stderr


def test_lost_and_found_does_not_count(data: Path, target: Path) -> None:
    for folder in (target, target.with_name("restored"), target.with_name("export")):
        (folder / "lost+found").mkdir(parents=True)
    back_up(data, target)
    assert originals(restore(target, "restored")) == originals(data)
    assert run("export", target.with_name("export"), "--data-dir", data).code == 0


def of_former_version(data: Path, target: Path) -> None:
    """A backup as the version before generations made it (format 1)."""
    names = [*data.glob("*.key"), *data.glob("originals/*/*"), *data.glob("renditions/*/*")]
    for path in names:
        copy = target / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    with closing(sqlite3.connect(data / "image_poster.db")) as database:
        database.execute("VACUUM INTO ?", (str(target / "image_poster-17.db"),))

    def entry(path: Path) -> dict[str, object]:
        state, name = path.stat(), str(path.relative_to(target))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {
            "path": name,
            "size": state.st_size,
            "mtime_ns": state.st_mtime_ns,
            "sha256": digest,
        }

    files = [entry(target / path.relative_to(data)) for path in names]
    manifest = {"format": 1, "database": entry(target / "image_poster-17.db"), "files": files}
    (target / "manifest.json").write_text(json.dumps(manifest))
    (target / "backup.lock").touch()


def test_a_former_versions_backup_is_the_oldest_generation(data: Path, target: Path) -> None:
    (data / "folder.json").unlink(missing_ok=True)
    of_former_version(data, target)
    (target / "notes.new").write_text("a stranger's")
    assert originals(restore(target, "former")) == originals(data)
    assert id_of(target.with_name("former")) == id_after_start(data)
    said = back_up(data, target)
    assert "; 1 files copied" in said  # folder.json, which the former version had not
    assert originals(restore(target, "oldest", "--generation", ".")) == originals(data)
    back_up(data, target, "--keep", "1")
    assert {path.name for path in target.iterdir()} == {
        *("backup.json", "backup.lock", "notes.new", generations(target)[0]),
    }
    assert originals(restore(target, "restored")) == originals(data)


def id_after_start(data: Path) -> str:
    with local_server(data):
        pass
    back_up(data, data.with_name("another target"))
    return id_of(data)


def test_a_former_versions_backup_of_another_service_is_refused(data: Path, target: Path) -> None:
    other = Path(shutil.copytree(data, data.with_name("other")))
    (other / "cursor.key").write_bytes(bytes(32))
    (data / "folder.json").unlink(missing_ok=True)
    of_former_version(other, target)
    before = sorted(target.rglob("*"))
    refused = run("backup", target, "--data-dir", data)
    assert (refused.code, "another data folder" in refused.stderr) == (1, True)
    assert sorted(target.rglob("*")) == before


@pytest.mark.parametrize("path", ["../outside", "originals/../../outside"])
def test_a_former_versions_manifest_reaches_nothing_outside(
    data: Path, target: Path, path: str
) -> None:
    """The file is there, of the right size and hash: only its name is wrong."""
    (data / "folder.json").unlink(missing_ok=True)
    of_former_version(data, target)
    place = target / path
    place.resolve().write_text("a stranger's")
    manifest = json.loads((target / "manifest.json").read_bytes())
    digest = hashlib.sha256(b"a stranger's").hexdigest()
    state = {"size": 12, "mtime_ns": 1, "sha256": digest}
    manifest["files"].append({"path": path, **state})
    (target / "manifest.json").write_text(json.dumps(manifest))
    before = {other for other in target.parent.rglob("*") if target not in other.parents}
    restored = run("restore", target, "--data-dir", target.parent / "deep" / "restored")
    assert (restored.code, "no file of a data folder" in restored.stderr) == (1, True)
    run("backup", target, "--data-dir", data)
    assert place.resolve().read_text() == "a stranger's"
    later = {other for other in target.parent.rglob("*") if target not in other.parents}
    assert {other.name for other in later - before} <= {"folder.json"}


@pytest.mark.skipif(bool(mounts.why_not()), reason=mounts.why_not())
def test_files_are_copied_where_no_hard_links_can_be_made(data: Path, target: Path) -> None:
    """A folder that is mounted onto itself takes links no more: link(2), EXDEV."""
    back_up(data, target)
    former = target / generations(target)[0]
    subprocess.run(["mount", "--bind", str(former), str(former)], check=True)
    try:
        said = back_up(data, target)
    finally:
        subprocess.run(["umount", "--lazy", str(former)], check=True)
    assert "; 0 files copied" not in said
    shutil.rmtree(former)
    assert originals(restore(target, "restored")) == originals(data)


@needs_root
def test_a_file_that_cannot_be_read_does_not_stop_the_rescue_of_the_others(
    data: Path,
) -> None:
    shared = Path(tempfile.mkdtemp(dir="/tmp"))
    shared.chmod(0o755)
    try:
        disk, place = Path(shutil.copytree(data, shared / "data")), shared / "target"
        place.mkdir()
        for path in (shared, disk, place, *disk.rglob("*")):
            os.lchown(path, 4321, 4321)
        unreadable = next(disk.glob("originals/*/*"))
        os.chown(unreadable, 0, 0)
        unreadable.chmod(0o600)
        done = run("backup", place, "--data-dir", disk, prepare=become_user(4321))
        assert done.code == 1
        assert f"{unreadable.name} cannot be read" in done.stderr
        assert "All earlier generations were kept" in done.stderr
        restored = restore(place, "restored")
        assert originals(restored)
        expected = originals(data)
        del expected[unreadable.name]
        assert originals(restored) == expected
        exported = run("export", shared / "x", "--data-dir", disk, prepare=become_user(4321))
        assert exported.code == 1
        assert f"{unreadable.name} cannot be read" in exported.stderr
        assert "2 posts" in exported.stdout
    finally:
        shutil.rmtree(shared)
