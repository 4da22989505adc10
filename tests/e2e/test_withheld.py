"""Images of hidden posts in the data folder: moves, crashes, backup, export, the doctor."""

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest

from image_poster.adapters.files.filesystem import ConfinedFolder
from image_poster.adapters.sqlite.database import connect
from image_poster.editions.local import backup, generations
from support import moderation, samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, assert_problem
from support.moderation import ADMIN, decide, post_subject, user_subject
from support.servers import local_server, refused
from support.shell import Shell
from support.waiting import wait_until

FLAGS = ("--admins", ADMIN)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell("", tmp_path / "state")


def places(data: Path, post_id: str) -> set[str]:
    """The folders that have renditions of a post."""
    return {
        name
        for name in ("renditions", "withheld")
        if list((data / name / post_id[-2:]).glob(f"{post_id}.*.jpg"))
    }


def move(data: Path, post_id: str, source: str, target: str) -> None:
    """Move a post's renditions as a crash, or a backup at that moment, may leave them."""
    (data / target / post_id[-2:]).mkdir(exist_ok=True)
    for path in (data / source / post_id[-2:]).glob(f"{post_id}.*.jpg"):
        path.rename(data / target / path.parent.name / path.name)


def own_image(api: Api, post_id: str, user: str) -> int:
    """The status of the response to a creator's request for a hidden image."""
    return api.get(f"/me/images/{post_id}/600.jpg", user).status_code


def line_of(shell: Shell, data: Path, subject: str, code: int = 0) -> str:
    """The doctor's line about a subject."""
    said = shell.run("doctor", "--data-dir", data, code=code).stdout
    return next(line for line in said.splitlines() if f" {subject} " in f" {line} ")


def test_a_start_moves_renditions_to_where_their_posts_status_says(
    data: Path, shell: Shell
) -> None:
    """A crash came between a file and its row; meanwhile the service sends what may be seen."""
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        ready, hidden = api.ready("alice"), moderation.hidden(api, "bob")
        assert [places(data, post["id"]) for post in (ready, hidden)] == [
            {"renditions"},
            {"withheld"},
        ]
        move(data, ready["id"], "renditions", "withheld")
        assert api.get(ready["image"]["url"]).status_code == 200
        server.kill()
    move(data, hidden["id"], "withheld", "renditions")
    assert "images of 1 hidden posts are in renditions/" in line_of(shell, data, "withheld", 1)
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        api.assert_no_image(hidden["image"]["url"])
        wait_until(lambda: places(data, ready["id"]) == {"renditions"})
        wait_until(lambda: places(data, hidden["id"]) == {"withheld"})
        assert api.get(ready["image"]["url"]).status_code == 200
        assert own_image(api, hidden["id"], "bob") == 200
    assert "BAD" not in shell.run("doctor", "--deep", "--data-dir", data).stdout


def test_a_backup_has_hidden_posts_decisions_and_bans_and_a_restore_brings_them_back(
    data: Path, tmp_path: Path, shell: Shell
) -> None:
    target, restored = tmp_path / "backup", tmp_path / "restored"
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        post = moderation.hidden(api, "alice")
        api.upload("bob")
        decide(api, "ban", user_subject("mallory"))
        log = api.get("/moderation/decisions", ADMIN).json()
        assert "files" in shell.run("backup", target, "--data-dir", data).stdout
    shell.run("restore", target, "--data-dir", restored)
    assert places(restored, post["id"]) == {"withheld"}
    assert "BAD" not in shell.run("doctor", "--data-dir", restored).stdout
    with local_server(restored, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        assert api.get("/moderation/decisions", ADMIN).json() == log
        assert api.upload("mallory").json()["code"] == "banned"
        api.assert_no_image(post["image"]["url"])
        assert own_image(api, post["id"], "alice") == 200
        decide(api, "restore", post_subject(post))
        assert api.get(post["image"]["url"]).status_code == 200
        assert places(restored, post["id"]) == {"renditions"}


@pytest.mark.parametrize("action", ["hide", "restore"])
def test_renditions_that_a_decision_moves_during_a_backup_are_in_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The file is moved from a folder that is not copied yet to one that was."""
    target, list_paths = tmp_path / "backup", generations.layout_paths
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        post = api.ready("alice") if action == "hide" else moderation.hidden(api, "alice")

        def paths_and_a_decision(folder: ConfinedFolder) -> Iterator[str]:
            paths = sorted(list_paths(folder))
            decide(api, action, post_subject(post))
            yield from paths

        monkeypatch.setattr(generations, "layout_paths", paths_and_a_decision)
        copied = backup.back_up(data, target, lambda _: None, generations.BackupOptions())
    assert copied.incomplete == []
    place = "withheld" if action == "hide" else "renditions"
    [generation] = [path for path in target.iterdir() if path.is_dir()]
    assert places(generation, post["id"]) == places(data, post["id"]) == {place}


def test_a_backup_without_a_hidden_posts_rendition_is_incomplete(
    data: Path, tmp_path: Path, shell: Shell
) -> None:
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        post = moderation.hidden(api, "alice")
    next((data / "withheld").glob("*/*.600.jpg")).unlink()
    assert post["id"] in shell.run("backup", tmp_path / "b", "--data-dir", data, code=1).stderr
    assert "1 files are damaged or missing" in line_of(shell, data, "images", 1)


def test_an_export_has_hidden_posts_apart_and_an_import_publishes_none(
    data: Path, tmp_path: Path, shell: Shell
) -> None:
    target, other = tmp_path / "export", tmp_path / "other"
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        post, hidden = api.ready("alice"), moderation.hidden(api, "bob")
        api.ready("mallory")
    said = shell.run("export", target, "--data-dir", data).stdout
    assert "2 posts, 0 comments" in said
    assert "1 posts are hidden, in review or rejected: they are in withheld.jsonl" in said
    [line] = (target / "withheld.jsonl").read_text().splitlines()
    exported = json.loads(line)
    assert (exported["id"], exported["status"]) == (hidden["id"], "hidden")
    assert (target / exported["image"]["file"]).read_bytes() == samples.jpeg()
    assert hidden["id"] not in (target / "posts.jsonl").read_text()
    with local_server(other, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        decide(api, "ban", user_subject("mallory"))
        said = shell.run("import", target, "--data-dir", other).stdout
        assert said.splitlines() == [
            "1 posts and 0 comments added",
            "1 posts not imported, because their creators are banned here",
        ]
        api.processed(f"/posts/{post['id']}", "alice")
        assert api.get(f"/posts/{hidden['id']}", ADMIN).status_code == 404


def test_withheld_files_are_private_where_a_group_reads_renditions(
    data: Path, shell: Shell
) -> None:
    group = str(os.getgid())
    flags = (*FLAGS, "--renditions-group", group)
    with local_server(data, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        post = moderation.hidden(api, "alice")
        paths = [data / "withheld", *(data / "withheld").rglob("*")]
        modes = {stat.S_IMODE(path.stat().st_mode) for path in paths}
        assert modes == {0o700, 0o600}
        decide(api, "restore", post_subject(post))
        [file] = (data / "renditions").glob("*/*.600.jpg")
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
    (data / "withheld").chmod(0o755)
    assert "withheld is open to others (mode 0755)" in line_of(shell, data, "owner", 1)
    with local_server(data, *flags):
        assert stat.S_IMODE((data / "withheld").stat().st_mode) == 0o700


def test_an_empty_database_beside_withheld_images_stops_the_start(data: Path) -> None:
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        moderation.hidden(api, "alice")
    for path in data.glob("image_poster.db*"):
        path.unlink()
    for name in ("originals", "renditions"):
        shutil.rmtree(data / name)
    assert "is new or empty, but the folder has images" in refused("--data-dir", str(data))


def names_in(data: Path, text: str) -> list[Path]:
    """The files of the data folder that have a text in their bytes or in their name."""
    named = []
    for path in data.rglob("*"):
        with suppress(FileNotFoundError):  # removed in the meantime
            if text in path.name or (path.is_file() and text.encode() in path.read_bytes()):
                named.append(path)
    return named


def begin_deletion(data: Path, user: str, since_ms: int = 0) -> None:
    """The first write of `DELETE /me`, after which the server was killed."""
    with closing(connect(data / "image_poster.db")) as connection:
        connection.execute(
            "INSERT INTO accounts (user, deleting, deleting_since) VALUES (?, 1, ?)",
            (user, since_ms),
        )


def test_a_deletion_of_an_account_that_a_kill_interrupted_is_completed(
    data: Path, shell: Shell
) -> None:
    """Nothing of it is in the folder then, in no file's bytes and no file's name."""
    user, mark = "user-whose-name-is-nowhere-else", "text-that-is-nowhere-else"
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        post, other = api.ready(user), api.ready("bob")
        api.comment(other["id"], user, mark)
        server.kill()
    begin_deletion(data, user)
    assert "1 deletions of accounts pending" in line_of(shell, data, "accounts")
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        wait_until(lambda: not names_in(data, user) and not names_in(data, mark))
        assert api.get(f"/posts/{post['id']}").status_code == 404
        assert api.total(other["id"]) == 0
        api.ready(user)  # the name begins anew
    assert names_in(data, post["id"]) == [data / "image_poster.db"]  # its tombstone


def test_a_deleted_accounts_tokens_are_refused_by_every_worker_and_its_name_is_gone(
    data: Path, shell: Shell
) -> None:
    user, flags = "user-whose-name-is-nowhere-else", ("--auth", "jwt", "--workers", "2")
    with local_server(data, *flags) as server:
        token = shell.run("token", user, "--data-dir", data).stdout.strip()
        bearer = {"authorization": f"Bearer {token}"}
        me, confirm = f"{server.url}/me", {"confirm": user}
        assert httpx.request("DELETE", me, json=confirm, headers=bearer).status_code == 202
        for _ in range(10):  # each by a connection of its own, so by either process
            answer = httpx.get(f"{server.url}/me/posts", headers=bearer)
            assert answer.status_code == 401
            assert "was revoked" in answer.headers["www-authenticate"]
        wait_until(lambda: not names_in(data, user))
        again = shell.run("token", user, "--data-dir", data).stdout.strip()
        bearer = {"authorization": f"Bearer {again}"}
        assert httpx.get(f"{server.url}/me/posts", headers=bearer).status_code == 200


def test_the_doctor_tells_of_the_queue_and_of_a_late_deletion_of_an_account(
    data: Path, shell: Shell
) -> None:
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        moderation.report(api, "bob", post_subject(api.ready("alice")))
        line = line_of(shell, data, "moderation")
        assert "1 open entries in the queue, the oldest since 20" in line
    begin_deletion(data, "alice\x1b[31m", since_ms=1)
    with (data / "server.lock").open("a") as lock:  # as a server does that cannot go on
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = line_of(shell, data, "accounts", code=1)
    assert "1 deletions of accounts run for over an hour: alice\\x1b[31m" in line
    assert "1 deletions of accounts pending" in line_of(shell, data, "accounts")


def test_images_and_texts_are_screened_by_the_files_of_the_settings(
    data: Path, tmp_path: Path
) -> None:
    words, images = tmp_path / "words", tmp_path / "images"
    words.write_text("nasty\n")
    images.write_text("# none of ours\n" + "0f" * 32 + "\n")
    flags = ("--blocked-words", str(words), "--blocked-images", str(images), "--review", "all")
    with local_server(data, *FLAGS, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        assert_problem(api.upload("alice", caption="How nasty!"), 422, "text_blocked")
        post = api.processed(f"/posts/{api.upload('alice').json()['id']}", "alice")
        assert (post["status"], places(data, post["id"])) == ("in_review", {"withheld"})
        decide(api, "publish", post_subject(post))
        assert places(data, post["id"]) == {"renditions"}
        assert api.get(f"/posts/{post['id']}").json()["status"] == "ready"
    images.write_text("no hash\n")
    sentence = refused("--data-dir", str(data), *flags)
    assert "blocked_images" in sentence
    assert "line 1 is no PDQ hash" in sentence
    assert len(sentence.splitlines()) == 1


def test_an_image_that_a_decision_blocked_is_rejected_the_next_time(data: Path) -> None:
    image = samples.noisy(256)
    with local_server(data, *FLAGS) as server, Api(server.url, LOCAL_EDITION) as api:
        post = api.finished("alice", image)
        decide(api, "delete", post_subject(post), block_image=True)
        again = api.finished("bob", image)
        assert (again["status"], again["failure"]["code"]) == ("failed", "image_blocked")
        assert places(data, again["id"]) == {"withheld"}
        decide(api, "publish", post_subject(again))
        assert api.get(f"/posts/{again['id']}").json()["status"] == "ready"
