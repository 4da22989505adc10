"""The commands of a client where the environment is broken: each ends with a sentence and a
documented exit code, and none posts twice."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from image_poster.client import GaveUpError, ImagePosterClient, Progress
from image_poster.client.journal import RequestJournal, ResumeState, UploadIdentity, sha256_of
from image_poster.client.uploading import PIECE_BYTES
from support import forked_commands, samples
from support.servers import Server, local_server
from support.shell import COMMAND, Shell
from support.waiting import wait_until

POLISH = "Żółta łódź \N{CAT FACE}"
NOT_UTF8 = os.fsdecode(b"\xff")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_server(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    shell = Shell(server.url, tmp_path / "state")
    shell.variables["IMAGE_POSTER_USER"] = shell.user
    return shell


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(samples.jpeg(90, 60))
    return path


def feed_of(shell: Shell) -> list[dict[str, Any]]:
    """The user's own posts."""
    query = {"creator": shell.user, "sort": "new"}
    answer = httpx.get(f"{shell.variables['IMAGE_POSTER_URL']}/posts", params=query)
    posts: list[dict[str, Any]] = answer.json()["posts"]
    return posts


def run(
    shell: Shell, *words: str | Path, stdout: Any = subprocess.PIPE, **options: Any
) -> subprocess.CompletedProcess[str]:
    """A command of whatever exit code, without a traceback."""
    variables: Mapping[str, str | None] = options.pop("variables", {})
    merged = {**shell.variables, **variables}
    done = subprocess.run(
        [*COMMAND, *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=60,
        check=False,
        env={name: value for name, value in merged.items() if value is not None},
        **options,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done


@dataclass(frozen=True)
class Environment:
    """A broken environment, and the exit codes of commands in it. `write_code` is for those that
    need the state folder."""

    variables: Mapping[str, str | None] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    read_code: int = 0
    write_code: int = 0
    sentence: str = ""
    limit: Callable[[], None] | None = None


def limit_files() -> None:
    """No file takes a byte more, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


REFUSING_PROXY = "http://user:secret@127.0.0.1:1"
ENVIRONMENTS = {
    "socks": Environment({"ALL_PROXY": "socks://10.0.0.1:1"}, (), 2, 2, "ALL_PROXY names a proxy"),
    "socks5h": Environment({"all_proxy": "socks5h://10.0.0.1:1"}, (), 2, 2, "all_proxy names"),
    "a socks proxy beside an http one": Environment(
        {"ALL_PROXY": "socks://10.0.0.1:1", "HTTP_PROXY": REFUSING_PROXY},
        (),
        3,
        3,
        "the proxy http://127.0.0.1:1 (HTTP_PROXY) cannot be reached",
    ),
    "a port that is none": Environment(
        {"HTTP_PROXY": "http://127.0.0.1:port"}, (), 2, 2, "HTTP_PROXY is not the address"
    ),
    "half an address": Environment(
        {"http_proxy": "http://[::1"}, (), 2, 2, "http_proxy is not the address"
    ),
    "exceptions that httpx does not read": Environment(
        {
            "NO_PROXY": "[::1],[fe80::1]:80, fe80::/10,127.0.0.0/8",
            "HTTP_PROXY": REFUSING_PROXY,
            "ALL_PROXY": "socks://10.0.0.1:1",
            "SSL_CERT_FILE": "/missing.pem",
        }
    ),
    "home is a file": Environment(
        {"HOME": "/dev/null", "XDG_STATE_HOME": None}, (), 0, 2, "/dev/null/.local/state"
    ),
    "the state folder is a file": Environment(
        {"XDG_STATE_HOME": "/dev/null"}, (), 0, 2, "Without it, the same command could post twice"
    ),
    "the state folder takes no byte": Environment({}, (), 0, 2, "File too large", limit_files),
    "letters that the terminal lacks": Environment({"PYTHONIOENCODING": "latin-1"}),
    "no locale": Environment({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    "half a URL": Environment({}, ("--url", "http://[::1"), 2, 2, "is not a URL"),
    "an empty label": Environment({}, ("--url", "http://a..b"), 2, 2, "is not a URL"),
    "a user with a line break": Environment({}, ("--as", "a\nb"), 2, 2, "must be printable"),
    "a user that is not UTF-8": Environment({}, ("--as", NOT_UTF8), 2, 2, "is not UTF-8"),
    "a token of two words": Environment({}, ("--token", "a b"), 2, 2, "no bearer token"),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_in_a_broken_environment_every_command_ends_with_a_sentence(
    shell: Shell, photo: Path, tmp_path: Path, name: str
) -> None:
    environment = ENVIRONMENTS[name]
    posts = [made_post(shell), made_post(shell)]
    read, write = environment.read_code, environment.write_code
    commands: list[tuple[tuple[str | Path, ...], int]] = [
        (("feed", "--sort", "new"), read),
        (("show", posts[0]), read),
        (("comment", posts[0], POLISH), write),
        (("post", photo, "--caption", POLISH, "--patience", "1"), write),
        (("takeout", tmp_path / "takeout"), write if environment.limit else read),
        (("delete", posts[1]), read),
    ]
    every = [(*words, *environment.flags) for words, _ in commands]
    for (words, code), result in zip(commands, run_all(shell, environment, every), strict=True):
        assert (result["code"], words) == (code, words), result
        assert "Traceback" not in result["stderr"], result
        assert "Exception ignored" not in result["stderr"], result
        assert "secret" not in result["stderr"]
        if code:
            assert environment.sentence in result["stderr"]


def made_post(shell: Shell) -> str:
    """The id of a new post, whose image is still to come or to be processed: no matter here."""
    answer = httpx.post(
        f"{shell.variables['IMAGE_POSTER_URL']}/posts",
        files={"image": samples.jpeg(60, 60)},
        headers={"user-id": shell.user},
    )
    post_id: str = answer.json()["id"]
    httpx.get(answer.request.url.join(f"/posts/{post_id}?wait=20"), timeout=120)
    return post_id


def run_all(
    shell: Shell, environment: Environment, commands: list[tuple[str | Path, ...]]
) -> list[dict[str, Any]]:
    """The exit code and the standard error of each command."""
    reader, writer = os.pipe()
    merged = {**shell.variables, **environment.variables}
    words = [[os.fsencode(word).decode("latin-1") for word in command] for command in commands]
    with os.fdopen(reader, "rb") as results:
        try:
            subprocess.run(
                [sys.executable, forked_commands.__file__, str(writer)],
                input=json.dumps(words).encode(),
                stdout=subprocess.DEVNULL,
                timeout=120,
                check=True,
                pass_fds=[writer],
                env={name: value for name, value in merged.items() if value is not None},
                preexec_fn=environment.limit,
            )
        finally:
            os.close(writer)
        return [json.loads(line) for line in results]


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)])
def test_with_closed_descriptors_nothing_is_posted_twice(
    shell: Shell, photo: Path, closed: tuple[int, ...]
) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    post = run(shell, "post", photo, preexec_fn=close)
    feed = run(shell, "feed", preexec_fn=close)
    assert (post.returncode, feed.returncode) == (3, 3)
    if 2 not in closed:
        assert "cannot be printed" in post.stderr
    assert run(shell, "post", photo).returncode == 0
    assert len(feed_of(shell)) == 1


def test_texts_that_are_not_utf8_are_refused_by_the_name_of_their_option(
    shell: Shell, photo: Path
) -> None:
    commands: dict[tuple[str | Path, ...], str] = {
        ("post", photo, "--caption", NOT_UTF8): "'--caption': is not UTF-8",
        ("post", photo, "--alt", NOT_UTF8): "'--alt': is not UTF-8",
        ("comment", "01K", NOT_UTF8): "'TEXT': is not UTF-8",
        ("feed", "--cursor", NOT_UTF8): "'--cursor': is not UTF-8",
        ("show", f"01K{NOT_UTF8}"): "'POST_ID': is not the id of a post",
        ("delete", "../limits"): "'POST_ID': is not the id of a post",
        ("moderation", "--cursor", NOT_UTF8): "'--cursor': is not UTF-8",
        ("decide", "ban", f"user:{NOT_UTF8}"): "'SUBJECT': is not UTF-8",
        ("decide", "hide", "01K", "--text", NOT_UTF8): "'--text': is not UTF-8",
    }
    assert_usage_errors(shell, commands)
    assert feed_of(shell) == []


def assert_usage_errors(shell: Shell, commands: dict[tuple[str | Path, ...], str]) -> None:
    for sentence, result in zip(
        commands.values(), run_all(shell, Environment(), list(commands)), strict=True
    ):
        assert (result["code"], sentence in result["stderr"]) == (2, True), result
        assert "Traceback" not in result["stderr"]


def test_a_file_whose_name_is_not_utf8_is_posted(shell: Shell, photo: Path) -> None:
    name = photo.rename(photo.with_name(f"{NOT_UTF8}.jpg"))
    assert run(shell, "post", name).returncode == 0
    assert len(feed_of(shell)) == 1


def test_a_takeout_goes_into_a_folder_whose_name_is_not_utf8(shell: Shell, tmp_path: Path) -> None:
    post_id = made_post(shell)
    done = run(shell, "takeout", tmp_path / NOT_UTF8, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"].startswith(str(tmp_path))
    assert (tmp_path / NOT_UTF8 / "originals" / f"{post_id}.jpeg").exists()


@contextmanager
def full_device() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_full_standard_error_changes_no_exit_code(shell: Shell, photo: Path) -> None:
    for words, code in {
        ("show", "01K5ZC3A9Q8V7N6M5K4J3H2G1F"): 1,
        ("frobnicate",): 2,
        ("post", str(photo), "--json"): 0,
    }.items():
        with full_device() as descriptor:
            done = subprocess.run(
                [*COMMAND, *words],
                stdout=subprocess.PIPE,
                stderr=descriptor,
                check=False,
                env=shell.variables,
            )
        assert done.returncode == code
        assert bool(done.stdout) == (code == 0)


@contextmanager
def pipe_without_reader() -> Iterator[int]:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


OUTPUTS: dict[str, Callable[[], Any]] = {"full": full_device, "nobody reads": pipe_without_reader}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_post_that_was_not_printed_is_printed_by_the_same_command(
    shell: Shell, photo: Path, output: str, form: str
) -> None:
    words = ("post", photo, "--caption", POLISH, *(("--json",) if form == "json" else ()))
    with OUTPUTS[output]() as descriptor:
        done = run(shell, *words, stdout=descriptor)
    assert done.returncode == 3
    assert "cannot be printed" in done.stderr
    again = run(shell, *words)
    assert again.returncode == 0
    [post] = feed_of(shell)
    assert post["id"] in again.stdout
    # It has been printed: from now on the same command makes another post.
    run(shell, *words)
    assert len(feed_of(shell)) == 2


def test_of_two_files_that_were_not_printed_none_is_posted_twice(
    shell: Shell, photo: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.jpg"
    other.write_bytes(samples.jpeg(60, 90))
    with full_device() as descriptor:
        assert run(shell, "post", photo, other, stdout=descriptor).returncode == 3
    again = run(shell, "post", photo, other, "--json")
    printed = {json.loads(line)["id"] for line in again.stdout.splitlines()}
    assert printed == {post["id"] for post in feed_of(shell)}
    assert len(printed) == 2


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_comment_that_was_not_printed_is_printed_by_the_same_command(
    shell: Shell, output: str
) -> None:
    post_id = made_post(shell)
    with OUTPUTS[output]() as descriptor:
        assert run(shell, "comment", post_id, POLISH, stdout=descriptor).returncode == 3
    comment = json.loads(run(shell, "comment", post_id, POLISH, "--json").stdout)
    [post] = feed_of(shell)
    assert post["latest_comments"] == [comment]
    run(shell, "comment", post_id, POLISH)
    assert feed_of(shell)[0]["total_comments"] == 2


def test_a_comment_first_sent_long_ago_is_sent_again_only_if_a_person_says_so(
    shell: Shell,
) -> None:
    post_id = made_post(shell)
    with full_device() as descriptor:
        run(shell, "comment", post_id, "Nice!", stdout=descriptor)
    [record] = state_folder(shell).iterdir()
    state = json.loads(record.read_text())
    record.write_text(json.dumps({**state, "since": time.time() - 7 * 24 * 3600}))
    refused = run(shell, "comment", post_id, "Nice!")
    assert refused.returncode == 1
    assert "This comment was first sent on" in refused.stderr
    assert feed_of(shell)[0]["total_comments"] == 1
    assert run(shell, "comment", post_id, "Nice!", "--again").returncode == 0
    assert feed_of(shell)[0]["total_comments"] == 2


def state_folder(shell: Shell) -> Path:
    return Path(shell.variables["XDG_STATE_HOME"]) / "image-poster" / "uploads"


def test_a_comment_that_is_refused_leaves_no_record(shell: Shell) -> None:
    assert run(shell, "comment", "01K5ZC3A9Q8V7N6M5K4J3H2G1F", "Nice!").returncode == 1
    assert list(state_folder(shell).iterdir()) == []


@pytest.mark.parametrize("word", ["post", "comment"])
def test_a_command_killed_while_it_prints_writes_once(shell: Shell, photo: Path, word: str) -> None:
    """Its output is a full pipe, in which it waits until it is killed."""
    words: tuple[str | Path, ...] = ("post", photo)
    if word == "comment":
        words = ("comment", made_post(shell), "Nice!")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65_536)
    os.set_blocking(writer, True)
    process = subprocess.Popen([*COMMAND, *map(str, words)], stdout=writer, env=shell.variables)

    def is_written() -> bool:
        if written(shell, word):
            return True
        assert process.poll() is None
        return False

    wait_until(is_written)
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.close(reader)
    os.close(writer)
    assert run(shell, *words).returncode == 0
    posts = feed_of(shell)
    assert len(posts) == 1
    assert posts[0]["total_comments"] == (1 if word == "comment" else 0)


def written(shell: Shell, word: str) -> bool:
    posts = feed_of(shell)
    return bool(posts) and (word == "post" or posts[0]["total_comments"] == 1)


def test_two_commands_that_post_the_same_file_at_once_make_no_third_post(
    shell: Shell, photo: Path
) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda _: run(shell, "post", photo), range(2)))
    codes = sorted(command.returncode for command in done)
    # One tells the other to leave it alone; or they came one after the other.
    assert codes in ([0, 0], [0, 3])
    assert len(feed_of(shell)) == codes.count(0)
    for command in done:
        assert command.returncode == 0 or "sending the same now" in command.stderr


def heed_interrupts() -> None:
    """Whoever runs the tests in the background has it ignored, also for children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_it_ends_with_a_sentence(shell: Shell, photo: Path) -> None:
    """The service takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for words in (("post", photo), ("feed",), ("comment", "01K", "Nice!")):
            process = subprocess.Popen(
                [*COMMAND, *map(str, words), "--url", url],
                stderr=subprocess.PIPE,
                text=True,
                env=shell.variables,
                preexec_fn=heed_interrupts,  # noqa: PLW1509 - no threads here
            )
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                _, said = process.communicate(timeout=60)
            assert process.returncode == 3
            assert said.strip().startswith("image-poster: interrupted")
            assert len(said.strip().splitlines()) == 1


def test_what_is_no_file_of_an_image_is_refused_before_it_is_sent(
    shell: Shell, tmp_path: Path
) -> None:
    empty, fifo, loop = tmp_path / "empty.jpg", tmp_path / "fifo", tmp_path / "loop"
    empty.touch()
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    said = run(shell, "post", empty)
    assert said.returncode == 1
    assert "empty.jpg: The image is empty: it has no bytes." in said.stderr
    sentences = {
        fifo: "is not a regular file",
        Path("/dev/stdin"): "is not a regular file",
        Path("/dev/zero"): "is not a regular file",
        tmp_path: "is a directory",
        loop: "does not exist",
    }
    assert_usage_errors(shell, {("post", path): text for path, text in sentences.items()})
    assert not state_folder(shell).exists() or not list(state_folder(shell).iterdir())


def test_a_file_that_changes_while_it_is_sent_is_not_posted(shell: Shell, tmp_path: Path) -> None:
    """It has two pieces, and other bytes once the first has begun."""
    photo, image = tmp_path / "photo.jpg", samples.noisy(900)
    photo.write_bytes(image + b"one way")
    assert photo.stat().st_size > PIECE_BYTES

    def replace(_progress: Progress) -> None:
        photo.write_bytes(image + b"another")  # of the same size

    with ImagePosterClient(
        shell.variables["IMAGE_POSTER_URL"], shell.user, journal=RequestJournal(state_folder(shell))
    ) as client:
        with pytest.raises(GaveUpError, match=r"photo\.jpg has changed while it was being sent"):
            client.post(photo, progress=replace)
        assert feed_of(shell) == []
        post = client.wait_until_processed(client.post(photo).id)
    assert [entry["id"] for entry in feed_of(shell)] == [post.id]


def test_a_good_file_beside_an_empty_one_is_posted(
    shell: Shell, photo: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    assert run(shell, "post", empty, photo).returncode == 1
    assert len(feed_of(shell)) == 1


def test_a_damaged_record_asks_a_person(server: Server, shell: Shell, photo: Path) -> None:
    identity = UploadIdentity(server.url, shell.user, sha256_of(photo), "", "")
    with RequestJournal(state_folder(shell)).open_entry(identity) as entry:
        entry.save(ResumeState("a key", since=time.time()))
    [path] = state_folder(shell).iterdir()
    path.write_bytes(path.read_bytes()[:-3])
    refused = run(shell, "post", photo)
    assert refused.returncode == 1
    assert "photo.jpg was first sent at an unknown time (its record is damaged)" in refused.stderr
    assert feed_of(shell) == []
    assert run(shell, "post", photo, "--again").returncode == 0
    assert len(feed_of(shell)) == 1


def test_missing_certificates_are_named_with_their_variable(shell: Shell, tmp_path: Path) -> None:
    garbage, missing = tmp_path / "garbage.pem", str(tmp_path / "missing")
    garbage.write_text("no certificate")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        for variable, path in {
            "SSL_CERT_FILE": missing,
            "SSL_CERT_DIR": missing,
            "SSL_CERT_FILE ": str(garbage),
        }.items():
            name = variable.strip()
            done = run(shell, "feed", "--url", url, variables={name: path})
            assert done.returncode == 3
            assert f"{name} names {path}, whose certificates cannot be read" in done.stderr
            assert "self-signed" not in done.stderr


@contextmanager
def refusing_proxy(answer: bytes) -> Iterator[str]:
    """A proxy that answers every request by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("scheme", "variable"), [("http", "HTTP_PROXY"), ("https", "ALL_PROXY")])
def test_a_proxy_that_refuses_is_named(
    shell: Shell, photo: Path, scheme: str, variable: str
) -> None:
    status = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
    with refusing_proxy(status) as address:
        variables = {variable: f"http://user:secret@{address}"}
        for words in (("feed",), ("post", photo)):
            url = f"{scheme}://photos.example.org"
            done = run(shell, *words, "--url", url, variables=variables)
            assert done.returncode == 3
            assert f"the proxy http://{address} ({variable})" in done.stderr
            assert "407" in done.stderr
            assert "NO_PROXY=photos.example.org" in done.stderr
            assert "secret" not in done.stderr
