"""`takeout`, as people type it, on a server, over bad networks, and killed."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from image_poster.client import ImagePosterClient, Policy, TakeoutProgress
from support import samples
from support.api import someone
from support.chaos import RunningProxy, Weather, chaos
from support.clients import IMAGE, name_of, new_post
from support.servers import Server, local_server
from support.shell import COMMAND, Shell
from support.waiting import wait_until

HURRIED = Policy(base=0.05, silence=0.5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_server(tmp_path_factory.mktemp("data"), "--admins", "root") as running:
        yield running


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    return Shell(server.url, tmp_path)


@pytest.fixture(scope="module")
def owner(server: Server) -> str:
    """A user with two posts, one of them hidden, a comment, a report, a block and a decision."""
    users = (someone("alice"), someone("bob"), "root")
    alice, bob, root = (ImagePosterClient(server.url, user) for user in users)
    with alice, bob, root:
        hidden, foreign = new_post(alice, "Hidden"), new_post(bob)
        new_post(alice, "Shown")
        bob.comment(hidden.id, "Of another user")
        alice.comment(foreign.id, "Mine")
        alice.report(foreign.id, "other", text="By me")
        alice.block("mallory")
        root.decide("hide", hidden.id, reason="spam")
        return name_of(alice)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_takeout_has_all_data_of_the_caller(shell: Shell, tmp_path: Path, owner: str) -> None:
    folder = tmp_path / "takeout"
    said = shell.run("takeout", folder, "--as", owner).stdout
    counts = "2 posts, 1 comments, 1 reports, 1 blocks, 1 decisions, 2 originals"
    assert said.startswith(f"{folder}: {counts} (")
    posts = lines(folder / "posts.jsonl")
    assert [(post["caption"], post["status"]) for post in posts] == [
        ("Shown", "ready"),
        ("Hidden", "hidden"),
    ]
    assert [item["content"] for item in lines(folder / "comments.jsonl")] == ["Mine"]
    assert [item["text"] for item in lines(folder / "reports.jsonl")] == ["By me"]
    assert [item["user"] for item in lines(folder / "blocks.jsonl")] == ["mallory"]
    assert [item["action"] for item in lines(folder / "decisions.jsonl")] == ["hide"]
    for post in posts:
        assert (folder / "originals" / f"{post['id']}.jpeg").read_bytes() == IMAGE
    assert "Of another user" not in (folder / "posts.jsonl").read_text()


def test_a_takeout_is_continued_by_the_same_command(
    shell: Shell, tmp_path: Path, owner: str
) -> None:
    command = ("takeout", tmp_path / "takeout", "--as", owner, "--json")
    whole = json.loads(shell.run(*command).stdout)
    assert (whole["originals"], whole["received"]) == (2, 2 * len(IMAGE))
    original = next((tmp_path / "takeout" / "originals").iterdir())
    original.with_suffix(".part").write_bytes(IMAGE[:5000])
    original.unlink()
    continued = json.loads(shell.run(*command).stdout)
    assert (continued["originals"], continued["received"]) == (2, len(IMAGE) - 5000)
    assert original.read_bytes() == IMAGE
    assert json.loads(shell.run(*command).stdout)["received"] == 0


def test_a_takeout_that_is_refused_says_how_to_continue(
    shell: Shell, tmp_path: Path, owner: str
) -> None:
    folder = tmp_path / "takeout"
    nobody = shell.run("takeout", folder, code=1).stderr
    assert "--as NAME" in nobody
    shell.run("takeout", folder, "--as", owner)
    other = shell.run("takeout", folder, "--as", "mallory", code=2).stderr
    assert f"has the takeout of {owner}, and you are mallory. Continue it as {owner}" in other
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("a stranger's")
    assert "Name an empty or a new folder" in shell.run("takeout", full, code=2).stderr
    gone = ("takeout", folder, "--as", owner, "--url", "http://127.0.0.1:1")
    elsewhere = shell.run(*gone, code=2).stderr
    assert f"Continue it with --url {shell.variables['IMAGE_POSTER_URL']}" in elsewhere


def test_a_takeout_from_a_service_that_is_not_there_exits_3(shell: Shell, tmp_path: Path) -> None:
    gone = ("takeout", tmp_path / "new", "--as", "alice", "--url", "http://127.0.0.1:1")
    said = shell.run(*gone, code=3).stderr
    assert "cannot be reached" in said
    assert "Run the same command again to continue." in said
    assert not (tmp_path / "new").exists()


def test_a_lost_original_is_named_and_exits_1(tmp_path: Path) -> None:
    with local_server(tmp_path / "data") as server:
        shell = Shell(server.url, tmp_path)
        with ImagePosterClient(server.url, "alice") as alice:
            post, other = new_post(alice), new_post(alice)
        (original,) = (tmp_path / "data" / "originals").rglob(post.id)
        original.unlink()
        done = shell.run("takeout", tmp_path / "takeout", "--as", "alice", code=1)
    assert f"not downloaded, because the original is missing: {post.id}\n" in done.stderr
    assert ", 1 originals (" in done.stdout
    assert (tmp_path / "takeout" / "originals" / f"{other.id}.jpeg").exists()


def test_on_a_terminal_the_takeout_has_a_bar(shell: Shell, tmp_path: Path, owner: str) -> None:
    own, screen = pty.openpty()
    command = [*COMMAND, "takeout", str(tmp_path / "takeout"), "--as", owner]
    with subprocess.Popen(
        command, env=shell.variables, stdout=subprocess.PIPE, stderr=screen
    ) as process:
        os.close(screen)
        drawn = b"".join(iter(lambda: read_terminal(own), b"")).decode()
    os.close(own)
    assert process.returncode == 0
    assert "2/2 originals" in drawn
    assert "MB" in drawn


def read_terminal(descriptor: int) -> bytes:
    """Read the drawn text; nothing once the other end is closed (Linux says EIO then)."""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


@pytest.fixture(scope="module")
def large(server: Server) -> tuple[str, dict[str, bytes]]:
    """A user, and the originals of the user's posts: 2 MB in all."""
    images = [samples.noisy(800, number) for number in range(3)]
    with ImagePosterClient(server.url, someone("alice")) as alice:
        originals = {new_post(alice, image=image).id: image for image in images}
        return name_of(alice), originals


def assert_complete(folder: Path, originals: dict[str, bytes]) -> None:
    """The folder has these originals, and no part of any."""
    paths = list((folder / "originals").iterdir())
    assert {path.stem: path.read_bytes() for path in paths} == originals
    assert all(path.suffix == ".jpeg" for path in paths)


def test_a_takeout_goes_on_through_cuts(
    server: Server, tmp_path: Path, large: tuple[str, dict[str, bytes]]
) -> None:
    user, originals = large
    total, states = sum(map(len, originals.values())), list[TakeoutProgress]()
    storm = Weather(1, cut_after_seconds=0.3, bytes_per_second=total, ways=("rst", "fin"))
    with (
        chaos(server.url, storm) as proxy,
        ImagePosterClient(proxy.url, user, policy=HURRIED) as client,
    ):
        result = client.takeout(tmp_path / "takeout", progress=states.append)
        assert proxy.counts.cuts > 0
    assert_complete(tmp_path / "takeout", originals)
    assert result.received == total
    assert any(state.trouble for state in states)


def has_received(proxy: RunningProxy, least: float, process: "subprocess.Popen[str]") -> bool:
    """True once so many bytes have arrived, or the command has ended."""
    return proxy.counts.down >= least or process.poll() is not None


def test_a_takeout_that_is_killed_continues_at_its_last_byte(
    server: Server, tmp_path: Path, large: tuple[str, dict[str, bytes]]
) -> None:
    user, originals = large
    total = sum(map(len, originals.values()))
    # So slow that it does not come to its end before it is killed.
    with chaos(server.url, Weather(2, bytes_per_second=total // 4)) as proxy:
        environment = {**os.environ, "IMAGE_POSTER_URL": proxy.url}
        command = [*COMMAND, "takeout", str(tmp_path / "takeout"), "--as", user, "--json"]
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
            before = proxy.counts.down
            with subprocess.Popen(
                command,
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            ) as process:
                wait_until(partial(has_received, proxy, before + total / 5, process), every=0.01)
                process.send_signal(number)
                _, troubles = process.communicate(timeout=60)
                assert process.returncode == (3 if number == signal.SIGINT else -number), troubles
        proxy.change_weather(Weather())
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert_complete(tmp_path / "takeout", originals)
    received = json.loads(done.stdout)["received"]
    # A fifth in each of the three runs, but for lists and bytes on their way.
    assert received < 0.6 * total
