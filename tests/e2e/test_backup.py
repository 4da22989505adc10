"""A backup made while many write, restored into an empty folder."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from image_poster.editions.local.backup import back_up
from image_poster.editions.local.generations import BackupOptions
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.servers import local_server
from support.shell import Shell


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell("", tmp_path / "state")


class Writers:
    """Eight that post and comment until told to stop; what was answered to them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(8)
        self.posts: list[str] = []
        self.comments: list[tuple[str, str]] = []
        self._running = [self._pool.submit(self._write, f"writer-{n}") for n in range(8)]

    def _write(self, name: str) -> None:
        with Api(self._url, LOCAL_EDITION) as api:
            while not self._stop.is_set():
                post_id = api.ready(name)["id"]
                self.posts.append(post_id)
                for number in range(3):
                    comment = api.comment(post_id, name, str(number))
                    self.comments.append((post_id, comment["id"]))

    def end(self) -> None:
        self._stop.set()
        for future in self._running:
            future.result()
        self._pool.shutdown()


def all_posts(api: Api) -> list[dict[str, object]]:
    posts, cursor = [], None
    while True:
        page = api.get(
            "/posts", params={"limit": 100, "sort": "new"} | ({"cursor": cursor} if cursor else {})
        )
        posts += page.json()["posts"]
        cursor = page.json()["next"]
        if cursor is None:
            return posts


def test_what_was_answered_before_is_there_and_of_later_writes_only_whole_ones(
    data: Path, target: Path, shell: Shell
) -> None:
    with local_server(data) as server:
        writers = Writers(server.url)
        try:
            while len(writers.posts) < 16:
                pass_time()
            posts, comments = list(writers.posts), list(writers.comments)
            said = shell.run("backup", target, "--data-dir", data)
        finally:
            writers.end()
        server.kill()
    assert "files and the database" in said.stdout
    shutil.rmtree(data)
    shell.run("restore", target, "--data-dir", data)
    assert "BAD" not in shell.run("doctor", "--data-dir", data).stdout
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        posts_by_id = {str(post["id"]): post for post in all_posts(api)}
        assert set(posts) <= set(posts_by_id)
        comments_by_post = {post_id: comments_of(api, post_id) for post_id in posts_by_id}
        assert all(comment_id in comments_by_post[post_id] for post_id, comment_id in comments)
        for post_id, post in posts_by_id.items():
            assert post["total_comments"] == len(comments_by_post[post_id])
            assert api.get(post["image"]["url"]).status_code == 200  # type: ignore[index]


def pass_time() -> None:
    threading.Event().wait(0.02)


def comments_of(api: Api, post_id: str) -> list[str]:
    page = api.get(f"/posts/{post_id}/comments", params={"limit": 100}).json()
    return [comment["id"] for comment in page["comments"]]


def generations(target: Path) -> list[Path]:
    """The folders of the generations in a target, by their names."""
    return sorted(path for path in target.iterdir() if path.is_dir())


def test_a_second_backup_copies_only_what_is_new(data: Path, target: Path, shell: Shell) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        first, second = api.ready("alice")["id"], api.ready("alice")["id"]
        assert (
            "8 files and the database; 8 files copied"
            in shell.run("backup", target, "--data-dir", data).stdout
        )
        assert api.send("DELETE", f"/posts/{second}", "alice").status_code == 204
        third = api.ready("alice")["id"]
        assert (
            "8 files and the database; 3 files copied"
            in shell.run("backup", target, "--data-dir", data).stdout
        )
    former, newest = generations(target)
    names = {path.name for path in newest.rglob("*") if path.is_file()}
    assert second not in names
    assert {first, third} <= names
    originals = [next(folder.glob(f"originals/*/{first}")) for folder in (former, newest)]
    assert originals[0].samefile(originals[1])
    assert list(former.glob(f"originals/*/{second}"))
    assert all(len(list(folder.glob("*.db"))) == 1 for folder in (former, newest))


def test_seven_generations_stay_and_as_many_as_keep_says(
    data: Path, target: Path, shell: Shell
) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        api.ready("alice")
    for _ in range(8):
        back_up(data, target, lambda _: None, BackupOptions())
    assert len(generations(target)) == 7
    former = generations(target)[0]
    (former / "notes.txt").write_text("a stranger's")
    shell.run("backup", target, "--data-dir", data, "--keep", "1")
    assert len(generations(target)) == 2
    assert [path.name for path in former.rglob("*")] == ["notes.txt"]
    shell.run("backup", target, "--data-dir", data, "--keep", "0", code=2)


def test_a_file_that_the_target_lost_is_copied_again(
    data: Path, target: Path, shell: Shell
) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        post_id = api.ready("alice")["id"]
    shell.run("backup", target, "--data-dir", data)
    (original,) = target.glob(f"*/originals/*/{post_id}")
    (rendition,) = target.glob(f"*/renditions/*/{post_id}.600.jpg")
    original.unlink()
    rendition.write_bytes(rendition.read_bytes()[:-1])
    said = shell.run("backup", target, "--data-dir", data).stdout
    assert "5 files and the database; 2 files copied" in said
    shell.run("restore", target, "--data-dir", data.with_name("again"))


def test_a_post_deleted_during_the_backup_is_not_in_it(
    data: Path, target: Path, shell: Shell
) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        post_id = api.ready("alice")["id"]
        late: list[str] = []

        def meanwhile(phase: str) -> None:
            if phase == "copying the database":
                late.append(api.ready("alice")["id"])
                api.comment(late[0], "bob")
            if phase == "copying files":
                assert api.send("DELETE", f"/posts/{late[0]}", "alice").status_code == 204

        done = back_up(data, target, meanwhile, BackupOptions())
    assert (done.files, done.incomplete) == (5, [])
    shutil.rmtree(data)
    shell.run("restore", target, "--data-dir", data)
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        assert [post["id"] for post in all_posts(api)] == [post_id]
        assert "BAD" not in shell.run("doctor", "--data-dir", data).stdout


def test_an_upload_goes_on_after_a_restore(data: Path, target: Path, shell: Shell) -> None:
    tus = {"Tus-Resumable": "1.0.0"}
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        answer = api.send("POST", "/uploads", "alice", headers={**tus, "Upload-Length": "1000"})
        path = answer.headers["location"]
        headers = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        content = b"\xff\xd8\xff\xe0" + bytes(96)
        sent = api.send("PATCH", path, "alice", headers=headers, content=content)
        assert sent.headers["upload-offset"] == "100"
        shell.run("backup", target, "--data-dir", data)
    shutil.rmtree(data)
    shell.run("restore", target, "--data-dir", data)
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        head = api.send("HEAD", path, "alice", headers=tus)
        assert head.headers["upload-offset"] == "100"


def test_a_damaged_backup_is_told_and_does_not_start(
    data: Path, target: Path, shell: Shell
) -> None:
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        post_id = api.ready("alice")["id"]
        shell.run("backup", target, "--data-dir", data)
    (original,) = target.glob(f"*/originals/*/{post_id}")
    original.write_bytes(original.read_bytes()[:-1] + b"x")
    shutil.rmtree(data)
    said = shell.run("restore", target, "--data-dir", data, code=1).stderr
    assert f"the backup is damaged: {original} has another content than in the backup" in said
    assert not data.exists()


def test_what_cannot_be_is_one_sentence(data: Path, target: Path, shell: Shell) -> None:
    def said(*words: str | Path, code: int = 2) -> str:
        return shell.run(*words, "--data-dir", data, code=code).stderr

    assert "there is no database" in said("backup", target)
    with local_server(data):
        assert "another disk" in said("backup", data / "backup")
        shell.run("backup", target, "--data-dir", data)
        assert "is not empty" in said("restore", target)
        assert "name a folder of its own" in said("backup", data.parent)
        (manifest,) = target.glob("*/manifest.json")
        head = json.loads(manifest.read_bytes())
        manifest.write_text(json.dumps({**head, "files": "none"}))
        assert "manifest.json is damaged" in said("backup", target, code=1)
    assert "is no backup" in said("restore", data)
    (data.parent / "file").write_text("x")
    assert "failed: " in said("backup", data.parent / "file" / "backup", code=1)
