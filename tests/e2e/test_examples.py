"""The examples of the docs (examples, client, tutorial), taken from there and run as they stand."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.pages import Block, blocks
from support.peers import FOLDER as PEERS
from support.peers import why_not
from support.servers import Server, local_server
from support.waiting import wait_until

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "examples.md"
BASE = "http://127.0.0.1:8080"
EXAMPLES = blocks(PAGE)
CLIENT = blocks(ROOT / "docs" / "client.md")
TUTORIAL = blocks(ROOT / "docs" / "tutorial.md")
PHOTO = ROOT / "docs" / "collection" / "photo.jpg"
RUN = [block for block in EXAMPLES + CLIENT if block.runner in {"curl", "python", "node"}]
# Each language's way to make a POST, one match a request that it makes.
POSTS = {
    "bash": r"curl .*?(?:-F |--json|-X POST)",
    "python": r"session\.post\(",
    "js": r"method: 'POST'",
    "kotlin": r"\.post\(",
    "swift": r'httpMethod = "POST"|uploadFileAt\(',
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_server(tmp_path_factory.mktemp("data")) as server:
        yield server


def run(block: Block, folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    """In a folder with nothing but photo.jpg, against the server at `url`."""
    shutil.copy(ROOT / "docs" / "collection" / "photo.jpg", folder)
    assert BASE in block.code
    code = folder / {"curl": "it.sh", "python": "it.py", "node": "it.mjs"}[block.runner]
    code.write_text(block.code.replace(BASE, url))
    if block.runner == "node":
        (folder / "node_modules").symlink_to(PEERS / "node_modules")
    command = {"curl": ["bash", "-eu"], "python": [sys.executable], "node": ["node"]}
    return subprocess.run(
        [*command[block.runner], code.name],
        cwd=folder,
        env=os.environ | {"XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def captions(block: Block) -> list[str]:
    """The captions that the example posts: it has them in a string (or, for curl, after
    `printf`)."""
    return re.findall(r"['\"]((?:At|By|With) [^'\"]+)['\"]", block.code)


@pytest.mark.parametrize("block", RUN, ids=lambda block: f"{block.runner}-{block.line}")
def test_an_example_does_what_the_page_says(block: Block, server: Server, tmp_path: Path) -> None:
    if block.runner == "node" and why_not():
        pytest.skip(why_not())
    if block.runner == "curl" and not (shutil.which("curl") and shutil.which("openssl")):
        pytest.skip("curl or openssl is not installed")
    done = run(block, tmp_path, server.url)
    assert done.returncode == 0, done.stderr
    with Api(server.url, LOCAL_EDITION) as api:
        posts = [when_ready(api, caption) for caption in captions(block)]
    assert posts
    assert sum(post["total_comments"] for post in posts) == block.code.count("Nice!")


def test_the_tutorial_does_what_it_says(server: Server, tmp_path: Path) -> None:
    """Its steps are one script, run in a folder like that of the repository."""
    if not (shutil.which("curl") and shutil.which("openssl")):
        pytest.skip("curl or openssl is not installed")
    steps = [block.code for block in TUTORIAL if block.runner == "tutorial"]
    script = "\n".join(steps).replace(BASE, server.url)
    shutil.copytree(PHOTO.parent, tmp_path / "docs" / "collection")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Api(server.url, LOCAL_EDITION) as api:
        post = when_ready(api, "At the tutorial's lake")
        when_ready(api, "By the command")
    comments = [comment["content"] for comment in post["latest_comments"]]
    assert sorted(comments) == ["Nice!", "Only once"]


def when_ready(api: Api, caption: str) -> dict[str, Any]:
    """The one post with this caption, as soon as the feed has it."""

    def matches() -> list[dict[str, Any]]:
        posts = api.get("/posts?limit=100").json()["posts"]
        return [post for post in posts if post["caption"] == caption]

    (post,) = wait_until(matches, message=f"no post {caption!r}")
    return post


def test_the_examples_cover_the_clients_that_people_have() -> None:
    assert {block.runner for block in EXAMPLES if block.language in ("bash", "python", "js")} == {
        *("curl", "python", "node"),
        "browser",  # tests/browser/test_uppy_example.py
    }
    assert {block.language for block in EXAMPLES} == set(POSTS)
    for library in ("okhttp3", "tus.android", "URLSession", "TUSKit", "tus-js-client", "@uppy/tus"):
        assert any(library in block.code for block in EXAMPLES)


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: f"{block.language}-{block.line}")
def test_each_post_of_an_example_has_a_key(block: Block) -> None:
    joined = block.code.replace("\\\n", " ")
    posts = re.findall(POSTS[block.language], joined)
    assert joined.count("Idempotency-Key") >= len(posts)


@pytest.mark.parametrize("page", ["README.md", "docs/http.md", "docs/tutorial.md", "docs/aws.md"])
def test_each_post_by_curl_in_the_docs_has_a_key(page: str) -> None:
    text = (ROOT / page).read_text().replace("\\\n", " ")
    commands = [line for line in text.splitlines() if re.search(r"\bcurl .*localhost", line)]
    for command in commands:
        is_post = not re.search("PATCH|-X (DELETE|PUT)", command)
        if is_post and re.search(r" (-F|--json|-X POST)", command):
            assert "Idempotency-Key" in command, command


def test_the_docs_say_who_resends_by_himself() -> None:
    for page in (PAGE, ROOT / "docs" / "http.md"):
        assert re.search(r"Chrome.*OkHttp", page.read_text(), re.DOTALL)
