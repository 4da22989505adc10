"""`image-poster export` and `import`: out of one service, and into another."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.forked import limit_files, run
from support.servers import Server, local_server
from support.shell import Shell

KEPT = ("id", "creator", "creator_name", "caption", "alt", "created_at", "edited_at")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell("", tmp_path / "state")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder `one` and its `export`: of two posts, one with 12 comments, one of them edited;
    a third awaits its bytes."""
    folder = tmp_path_factory.mktemp("once")
    target, shell = folder / "export", Shell("", folder / "state")
    with local_server(folder / "one") as server, Api(server.url, LOCAL_EDITION) as api:
        files = {"image": samples.from_phone(6)}
        data = {"caption": "At the lake\nin June", "alt": "A lake"}
        first = api.send("POST", "/posts", "alice", files=files, data=data).json()["id"]
        second = api.ready("bob")["id"]
        api.processed(f"/posts/{first}", "alice")
        said = [api.comment(first, f"user-{n}", f"number {n}")["id"] for n in range(12)]
        path = f"/posts/{first}/comments/{said[3]}"
        assert api.send("PATCH", path, "user-3", json={"content": "edited"}).status_code == 200
        assert api.send("PATCH", f"/posts/{second}", "bob", json={"alt": "B"}).status_code == 200
        tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "1000"}
        assert api.send("POST", "/uploads", "alice", headers=tus).status_code == 201
        done = shell.run("export", target, "--data-dir", folder / "one").stdout
    assert done == f"{target}: 2 posts, 12 comments\n"
    return folder


@pytest.fixture
def exported(tmp_path: Path, once: Path) -> Path:
    """A test's own copy of the export, with `one` beside it."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "export"


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    """The data folder of a service that nothing is in, and that service."""
    data = tmp_path_factory.mktemp("another") / "two"
    with local_server(data) as server:
        yield data, server


def shown(data: Path) -> list[dict[str, object]]:
    """All that a reader and the creators can see, once images are processed."""
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        listed = (data.parent / "export" / "posts.jsonl").read_text().splitlines()
        posts = []
        for line in map(json.loads, listed):
            post = api.processed(f"/posts/{line['id']}", line["creator"])
            assert post["status"] == "ready", post
            assert api.get(post["image"]["url"]).status_code == 200
            comments = api.get(f"/posts/{line['id']}/comments", params={"limit": 100}).json()
            original = api.get(f"/posts/{line['id']}/original", line["creator"]).content
            posts.append({"post": post, "comments": comments["comments"], "original": original})
    return posts


def test_what_was_exported_is_there_again_with_ids_times_and_creators(
    tmp_path: Path, exported: Path, shell: Shell
) -> None:
    two = tmp_path / "two"
    with local_server(two):
        done = shell.run("import", exported, "--data-dir", two).stdout
    assert done == "2 posts and 12 comments added\n"
    assert shown(two) == shown(tmp_path / "one")
    assert "BAD" not in shell.run("doctor", "--deep", "--data-dir", two).stdout
    assert "0 counts corrected" in shell.run("rebuild", "--data-dir", two).stdout


def test_it_is_plain_files(exported: Path) -> None:
    posts = [json.loads(line) for line in (exported / "posts.jsonl").read_text().splitlines()]
    assert [post["creator"] for post in posts] == ["alice", "bob"]
    assert set(posts[0]) == {*KEPT, "image"}
    assert (exported / posts[0]["image"]["file"]).read_bytes() == samples.from_phone(6)
    assert posts[0]["image"]["file"].endswith(".jpeg")
    comments = (exported / "comments.jsonl").read_text().splitlines()
    assert [json.loads(line)["content"] for line in comments[:4]] == [
        *(f"number {n}" for n in range(3)),
        "edited",
    ]
    assert {path.name for path in exported.iterdir()} == {
        *("README.txt", "posts.jsonl", "comments.jsonl", "originals"),
    }


def test_imported_texts_are_cleaned_as_posted_ones_are(
    tmp_path: Path, exported: Path, shell: Shell
) -> None:
    lines = [json.loads(line) for line in (exported / "posts.jsonl").read_text().splitlines()]
    lines[0] |= {"caption": "a\r\nb\x0bc\u2028d\x1b ", "alt": "\x85alt\x07"}
    (exported / "posts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    file = exported / "comments.jsonl"
    file.write_text(file.read_text().replace("number 0", r"number\r0\u009b", 1))
    with local_server(tmp_path / "two") as server, Api(server.url, LOCAL_EDITION) as api:
        shell.run("import", exported, "--data-dir", tmp_path / "two")
        post = api.get(f"/posts/{lines[0]['id']}", lines[0]["creator"]).json()
        assert (post["caption"], post["alt"]) == ("a\nb\nc\nd", "alt")
        contents = []
        for line in lines:
            path = f"/posts/{line['id']}"
            assert api.processed(path, line["creator"])["status"] == "ready"
            page = api.get(f"{path}/comments", params={"limit": 100}).json()
            contents += [comment["content"] for comment in page["comments"]]
        assert "number\n0" in contents


def test_importing_again_changes_nothing_and_revives_nothing(
    tmp_path: Path, exported: Path, shell: Shell
) -> None:
    two = tmp_path / "two"
    posts = [json.loads(line) for line in (exported / "posts.jsonl").read_text().splitlines()]
    first, second = (post["id"] for post in posts)
    with local_server(two) as server, Api(server.url, LOCAL_EDITION) as api:
        shell.run("import", exported, "--data-dir", two)
        path = f"/posts/{first}/comments"
        assert api.processed(f"/posts/{first}", "alice")["status"] == "ready"
        (newest, *_) = api.get(path).json()["comments"]
        assert api.send("DELETE", f"{path}/{newest['id']}", "user-11").status_code == 204
        assert api.send("DELETE", f"/posts/{second}", "bob").status_code == 204
        assert (
            api.send(
                "PATCH", f"/posts/{first}", "alice", json={"caption": "edited here"}
            ).status_code
            == 200
        )
        done = shell.run("import", exported, "--data-dir", two).stdout
        assert done == (
            "0 posts and 0 comments added\n1 posts not imported, because users deleted them here\n"
        )
        post = api.get(f"/posts/{first}").json()
        assert (post["caption"], post["total_comments"]) == ("edited here", 11)
        assert api.get(f"/posts/{second}", "bob").status_code == 404


def test_an_import_into_a_new_folder_creates_it_as_a_start_does(
    tmp_path: Path, exported: Path, shell: Shell
) -> None:
    """Private, whatever the caller's umask, with its mark; an export that cannot be read creates
    nothing."""
    two, line = tmp_path / "two", (exported / "posts.jsonl").read_text()
    (exported / "posts.jsonl").write_text("{" + line)
    shell.run("import", exported, "--data-dir", two, code=2)
    assert not two.exists()
    # As editors on Windows write them: a byte order mark, CRLF, blank lines.
    (exported / "posts.jsonl").write_text("\ufeff" + line.replace("\n", "\r\n") + "\n \n")
    comments = (exported / "comments.jsonl").read_text()
    (exported / "comments.jsonl").write_text("\ufeff\n" + comments.replace("\n", "\n\n", 1) + "\n")
    done = shell.run("import", exported, "--data-dir", two).stdout
    assert done == "2 posts and 12 comments added\n"
    assert {path.stat().st_mode & 0o077 for path in [two, *two.rglob("*")]} == {0}
    folder_id = json.loads((two / "folder.json").read_bytes())["id"]
    (exported / "posts.jsonl").write_text(line)
    assert shown(two) == shown(tmp_path / "one")
    said = shell.run("doctor", "--data-dir", two).stdout
    assert f"its id is {folder_id}" in said
    assert "BAD" not in said


def test_an_import_does_not_adopt_images_without_their_database(
    tmp_path: Path, exported: Path, shell: Shell
) -> None:
    data = tmp_path / "one"
    (data / "image_poster.db").rename(tmp_path / "lost.db")
    said = shell.run("import", exported, "--data-dir", data, code=2).stderr
    assert "is new or empty, but the folder has images" in said
    assert not (data / "image_poster.db").exists()


@pytest.mark.parametrize(
    ("file", "was", "becomes", "said"),
    [
        ("posts.jsonl", '"id":"0', '"id":"../0', "posts.jsonl, line 1: '../0"),
        ("posts.jsonl", '"originals/', '"../originals/', "is not in"),
        ("posts.jsonl", '"size":', '"size":1', "has another size"),
        ("posts.jsonl", '"sha256":"', '"sha256":"0', "is not the image that was exported"),
        ("posts.jsonl", '"creator":"alice"', '"creator":""', "is no name of a creator"),
        ("comments.jsonl", '"content":"number 0"', '"content":" "', "must not be empty"),
        ("comments.jsonl", '"created_at":"2', '"created_at":"x', "is no time such as"),
        ("comments.jsonl", "}\n", "\n", "comments.jsonl, line 1: "),
    ],
)
def test_what_cannot_be_is_told_and_nothing_half_of_it_is_shown(
    another: tuple[Path, Server],
    exported: Path,
    shell: Shell,
    file: str,
    was: str,
    becomes: str,
    said: str,
) -> None:
    text = (exported / file).read_text()
    assert was in text
    (exported / file).write_text(text.replace(was, becomes, 1))
    data, server = another
    done = shell.run("import", exported, "--data-dir", data, code=2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    with Api(server.url, LOCAL_EDITION) as api:
        assert api.feed()["posts"] == []


def test_export_is_apart_from_the_data_folder_and_a_broken_off_one_is_told(
    tmp_path: Path, exported: Path
) -> None:
    def refused(target: Path) -> str:
        done = run("export", target, "--data-dir", tmp_path / "one")
        assert done.code == 2, done
        return done.stderr

    assert "is in the data folder" in refused(tmp_path / "one" / "export")
    assert "name a folder of its own" in refused(tmp_path)
    (exported / "posts.jsonl").unlink()
    assert "holds an incomplete export: delete it" in refused(exported)
    limit = limit_files(10_000)
    full = run("export", tmp_path / "x", "--data-dir", tmp_path / "one", prepare=limit)
    assert (full.code, "Delete that folder, and run the command" in full.stderr) == (1, True)


def test_originals_on_another_disk_are_exported_and_backed_up(tmp_path: Path, once: Path) -> None:
    """An operator linked the folder `originals`."""
    shutil.copytree(once / "one", tmp_path / "one")
    shutil.move(tmp_path / "one" / "originals", tmp_path / "disk")
    (tmp_path / "one" / "originals").symlink_to(tmp_path / "disk")
    assert run("export", tmp_path / "x", "--data-dir", tmp_path / "one").code == 0
    assert len(list((tmp_path / "x").glob("originals/*"))) == 2
    assert run("backup", tmp_path / "target", "--data-dir", tmp_path / "one").code == 0
    assert len(list((tmp_path / "target").glob("*/originals/*/*"))) == 2
    inside = run("backup", tmp_path / "disk" / "target", "--data-dir", tmp_path / "one")
    assert "is in the data folder" in inside.stderr


def test_export_goes_into_a_folder_of_its_own_and_import_takes_exports_only(
    tmp_path: Path, exported: Path, shell: Shell
) -> None:
    again = shell.run("export", exported, "--data-dir", tmp_path / "one", code=2).stderr
    assert "is not empty" in again
    assert (
        "there is no database"
        in shell.run("export", tmp_path / "x", "--data-dir", tmp_path / "nothing", code=2).stderr
    )
    assert not (tmp_path / "nothing").exists()
    (exported / "posts.jsonl").unlink()
    said = shell.run("import", exported, "--data-dir", tmp_path / "one", code=2).stderr
    assert "is no export: it has no posts.jsonl" in said
    shutil.rmtree(exported)
