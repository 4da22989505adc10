"""`image-poster serve`: starting, stopping, refusing to start, several processes, memory."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from image_poster.editions.local.settings import Settings
from support import samples
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, assert_problem, someone
from support.servers import LOCAL, Server, local_server, refused, start, wait_until_ready
from support.shell import Shell
from support.waiting import wait_until

# The 10 seconds of docs/behaviour.md, and what a busy machine may need to end a process; who waits
# for what the tests leave unfinished waits for 30.
STOPPED = 28
EVERYWHERE = "0.0.0.0"  # noqa: S104 - for a moment, and told by a warning


def wait_until_closed(url: str) -> None:
    """Wait until the server, which has begun to stop, refuses new connections."""

    def refuses() -> bool:
        try:
            httpx.get(f"{url}/healthz", timeout=1)
        except httpx.TransportError:
            return True
        return False

    wait_until(refuses, message="it still takes connections")


@pytest.mark.quick
def test_it_says_where_it_listens_and_serves_there(tmp_path: Path) -> None:
    with local_server(tmp_path) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        wait_until_ready(server.url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_told_and_what_it_had_is_there_again(tmp_path: Path, number: int) -> None:
    alice = someone("alice")
    server = start(LOCAL, "--data-dir", str(tmp_path))
    with Api(server.url, LOCAL_EDITION) as api:
        post = api.ready(alice)
    began = time.monotonic()
    assert server.stop(number) == 0
    assert time.monotonic() - began < STOPPED
    with local_server(tmp_path) as again, Api(again.url, LOCAL_EDITION) as api:
        assert api.feed(creator=alice)["posts"] == [post]


def test_a_request_under_way_is_finished_before_it_stops(tmp_path: Path) -> None:
    """The body of a post comes in two halves, with the order to stop in between."""
    server = start(LOCAL, "--data-dir", str(tmp_path))
    sent_half, go_on = threading.Event(), threading.Event()
    image = samples.jpeg()

    def pieces() -> Iterator[bytes]:
        head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        yield head + image[:500]
        sent_half.set()
        go_on.wait(60)
        yield image[500:] + b"\r\n--b--\r\n"

    with ThreadPoolExecutor() as pool:
        headers = {"user-id": "alice", "content-type": "multipart/form-data; boundary=b"}
        posting = pool.submit(
            httpx.post, f"{server.url}/posts", headers=headers, content=pieces(), timeout=60
        )
        assert sent_half.wait(60)
        server.process.send_signal(signal.SIGTERM)
        wait_until_closed(server.url)
        go_on.set()
        assert posting.result().status_code == 201
    assert server.wait() == 0


def test_readiness_says_what_a_comment_would_be_told_when_the_disk_fails(tmp_path: Path) -> None:
    """The kernel refuses a write for another reason than a full disk, which SQLite treats as an
    EIO. Here it is the largest file that the process may have (RLIMIT_FSIZE, setrlimit(2))."""
    with Path("/dev/null").open("w") as log:
        server = start(LOCAL, "--data-dir", str(tmp_path), log=log)
    with Api(server.url, LOCAL_EDITION) as api:
        post_id = api.ready("alice")["id"]
        wait_until_ready(server.url)
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
        answer = api.send("POST", f"/posts/{post_id}/comments", "bob", json={"content": "x"})
        assert answer.status_code == 500
        wait_until(lambda: api.get("/readyz").status_code == 503)
        assert_problem(api.get("/readyz"), 503, "not_ready")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert api.comment(post_id, "bob")
        wait_until(lambda: api.get("/readyz").status_code == 200)
    assert server.stop() == 0


def test_a_request_that_cannot_be_finished_is_told_that_the_service_stops(tmp_path: Path) -> None:
    """Two whose bodies stay away, one of them a resumable upload's, and one that waits."""
    with (tmp_path / "log").open("w") as log:
        server = start(LOCAL, "--data-dir", str(tmp_path / "data"), log=log)
    tus = {"tus-resumable": "1.0.0", "user-id": "alice"}
    creation = httpx.post(f"{server.url}/uploads", headers={**tus, "upload-length": "100"})
    image, path = samples.jpeg(), creation.headers["location"]
    origin = "Origin: http://localhost:3000"
    half = f"Host: localhost\r\nuser-id: alice\r\n{origin}\r\nContent-Length: 100\r\n"
    piece = (
        "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream"
    )
    requests = [
        f"POST /posts HTTP/1.1\r\n{half}Content-Type: application/json\r\n\r\n".encode(),
        f"PATCH {path} HTTP/1.1\r\n{half}{piece}\r\n\r\n".encode() + image[:50],
    ]
    with ExitStack() as stack:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        sockets = [stack.enter_context(socket.create_connection(address)) for _ in requests]
        for connection, request in zip(sockets, requests, strict=True):
            connection.sendall(request)
        stored = tmp_path / "data" / "uploads" / path[-2:] / path.rpartition("/")[2]
        wait_until(lambda: stored.exists() and stored.stat().st_size == 50)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        answers = [received(connection) for connection in sockets]
    assert server.wait() == 0
    assert time.monotonic() - began < STOPPED
    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"access-control-allow-origin: http://localhost:3000" in head.lower()
        assert b"retry-after: 2" in head.lower()
        assert json.loads(body)["code"] == "busy"
    assert stored.read_bytes() == image[:50]
    assert '"level": "error"' not in (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()


def received(connection: socket.socket) -> bytes:
    """All until the other side closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_cut_upload_is_a_line_in_the_log_and_leaves_nothing(
    tmp_path: Path, log_format: str
) -> None:
    log, folder = tmp_path / "log", tmp_path / "data"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*LOCAL, "--port", "0", "--data-dir", folder, "--log-format", log_format],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(":")[2])
    head = (
        b"POST /posts HTTP/1.1\r\nHost: localhost\r\nuser-id: alice\r\nContent-Length: 9000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head + samples.jpeg() + bytes(3_000_000))
    wait_until(
        lambda: "client went away" in log.read_text() and not list((folder / "spool").iterdir())
    )
    process.terminate()
    process.communicate(timeout=60)
    assert "error" not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_long_wait_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    server = start(LOCAL, "--data-dir", str(tmp_path), "--image-seconds", "30")
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as idle:
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < STOPPED
        assert idle.recv(10) == b""


def test_a_wrong_setting_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path))
    assert "port must be 0 to 65535" in refused(*data, "--port", "70000")
    assert "workers must be at least 1" in refused(*data, "--workers", "0")
    assert "not a valid integer" in refused(*data, IMAGE_POSTER_PORT="eighty")
    assert "image-fit" in refused(*data, "--image-fit", "stretch")
    assert "image_bytes must be at least 1" in refused(*data, IMAGE_POSTER_IMAGE_BYTES="-5")
    assert "cannot listen" in refused(*data, "--host", "192.0.2.1", "--insecure-dev-auth")


def test_dev_auth_stays_on_this_machine(tmp_path: Path) -> None:
    said = refused("--data-dir", str(tmp_path), "--host", EVERYWHERE)
    assert "auth=dev trusts any user-id" in said
    assert "--insecure-dev-auth" in said


def test_insecure_dev_auth_is_loud_and_takes_any_host(tmp_path: Path) -> None:
    flags = ("--data-dir", str(tmp_path), "--host", EVERYWHERE, "--insecure-dev-auth")
    process = subprocess.Popen(
        [*LOCAL, "--port", "0", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    port = process.stdout.readline().strip().rpartition(":")[2]
    answer = httpx.get(f"http://127.0.0.1:{port}/healthz", headers={"host": "phone.example"})
    assert answer.status_code == 200
    process.terminate()
    _, logged = process.communicate(timeout=60)
    assert "auth=dev trusts any user-id" in logged


@pytest.mark.parametrize(
    ("host", "address", "workers"),
    [
        ("localhost", r"127\.0\.0\.1|\[::1\]", "1"),
        ("localhost", r"127\.0\.0\.1|\[::1\]", "2"),
        ("::ffff:127.0.0.1", r"127\.0\.0\.1", "1"),
        ("[::1]", r"\[::1\]", "1"),
    ],
)
def test_every_name_of_this_machine_is_loopback(
    tmp_path: Path, host: str, address: str, workers: str
) -> None:
    if ":1" in host and "." not in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with local_server(tmp_path, "--host", host, "--workers", workers) as server:
        assert re.fullmatch(rf"http://({address}):\d+", server.url)
        wait_until_ready(server.url)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("no.such.host.invalid", "cannot be resolved"),
        ("a..b", "it is not a host name"),
        (os.fsdecode(b"\xff"), "cannot be resolved"),
        ("", "it is empty"),
        ("192.0.2.1", "cannot listen on 192.0.2.1"),
    ],
)
def test_a_host_that_cannot_be_is_told(tmp_path: Path, host: str, sentence: str) -> None:
    said = refused("--data-dir", str(tmp_path), "--auth", "jwt", "--port", "0", "--host", host)
    assert sentence in said.splitlines()[-1]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--auth", "jwt", "--host", EVERYWHERE), "bearer tokens travel to 0.0.0.0 in clear text"),
        (("--trusted-proxies", "0.0.0.0/0"), "0.0.0.0/0 is a public network of 4,294,967,296"),
    ],
)
def test_what_is_allowed_and_dangerous_is_loud(
    tmp_path: Path, flags: tuple[str, ...], sentence: str
) -> None:
    with (tmp_path / "log").open("w+") as log:
        start(LOCAL, "--data-dir", str(tmp_path / "data"), *flags, log=log).stop()
        log.seek(0)
        [warning] = [line for line in log if '"warning"' in line]
    assert sentence in warning


def test_a_wide_public_network_of_ipv6_is_loud_too() -> None:
    [warning] = Settings(trusted_proxies="2600::/24, 2600::/32, 10.0.0.0/8").warnings
    assert "2600::/24 is a public network" in warning


def test_behind_a_proxy_nothing_is_warned_of(tmp_path: Path) -> None:
    flags = ("--auth", "jwt", "--host", EVERYWHERE, "--trusted-proxies", "10.0.0.0/8,fc00::/7")
    with (tmp_path / "log").open("w+") as log:
        start(LOCAL, "--data-dir", str(tmp_path / "data"), *flags, log=log).stop()
        log.seek(0)
        assert "warning" not in log.read()


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "127.0.0.1,128.0.0.0/1", "2000::/3"])
def test_proxies_that_are_anybody_are_loud(network: str) -> None:
    [warning] = Settings(trusted_proxies=network).warnings
    assert f"{network.rpartition(',')[2]} is a public network" in warning
    assert "the service trusts all of them" in warning


def test_a_port_or_a_folder_in_use_is_told(tmp_path: Path) -> None:
    with local_server(tmp_path / "one") as server:
        port = server.url.rpartition(":")[2]
        said = refused("--data-dir", str(tmp_path / "two"), "--port", port)
        assert f"port {port} is in use" in said
        said = refused("--data-dir", str(tmp_path / "one"), "--port", "0")
        assert f"in use by another server (process {server.process.pid})" in said


def test_a_data_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    said = refused("--data-dir", str(tmp_path / "file" / "data"), "--port", "0")
    assert "cannot be used" in said


def test_a_database_of_a_later_version_is_told(tmp_path: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(tmp_path / "image_poster.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "version 99" in refused("--data-dir", str(tmp_path), "--port", "0")


def children_of(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children(recursive=True)


def test_several_processes_share_one_folder(tmp_path: Path) -> None:
    alice = someone("alice")
    with local_server(tmp_path, "--workers", "2") as server, Api(server.url, LOCAL_EDITION) as api:
        posts = [api.ready(alice) for _ in range(3)]

        def comment(number: int) -> None:
            # A connection each, so that both processes get some.
            with Api(server.url, LOCAL_EDITION) as own:
                own.comment(posts[0]["id"], "bob", str(number))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(comment, range(60)))
        assert api.get(f"/posts/{posts[0]['id']}").json()["total_comments"] == 60
        metrics = api.get("/metrics").text
        counted = re.findall(
            r'request_seconds_count\{method="POST",route="/posts/[^"]+",status="201"\} (\S+)',
            metrics,
        )
        assert sum(map(float, counted)) == 60


def is_worker(process: psutil.Process) -> bool:
    """Not if it has just ended, nor if it is what is left of one."""
    try:
        return "image_poster.editions.local.serve" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@pytest.mark.quick
def test_a_process_that_dies_is_replaced(tmp_path: Path) -> None:
    with local_server(tmp_path, "--workers", "2") as server:
        workers = [child for child in children_of(server) if is_worker(child)]
        assert len(workers) == 2
        workers[0].kill()

        def is_replaced() -> bool:
            alive = {child.pid for child in children_of(server) if is_worker(child)}
            return len(alive) == 2 and workers[0].pid not in alive

        wait_until(is_replaced, every=0.05)
        with Api(server.url, LOCAL_EDITION) as api:
            assert api.ready(someone())


def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    server = start(LOCAL, "--data-dir", str(tmp_path), "--workers", "2")
    workers = children_of(server)
    server.kill()
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
    with local_server(tmp_path):
        pass


def test_a_hundred_megabytes_go_to_the_disk_and_not_to_memory(tmp_path: Path) -> None:
    with local_server(tmp_path) as server, Api(server.url, LOCAL_EDITION) as api:
        api.finished("alice")  # warm: the image process is running, all code is loaded
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        peak, done = before, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.01):
                peak = max(peak, process.memory_info().rss)

        watcher = threading.Thread(target=watch)
        watcher.start()
        size = 99_000_000
        image = samples.jpeg()
        path = tmp_path / "big.jpg"
        path.write_bytes(image + bytes(size - len(image)))
        with path.open("rb") as file:
            answer = api.send("POST", "/posts", "alice", files={"image": file})
        done.set()
        watcher.join()
        assert answer.status_code == 201
        assert peak - before <= 30_000_000
        post = api.processed(f"/posts/{answer.json()['id']}", "alice")
        assert post["status"] == "ready"


def test_a_damaged_database_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "image_poster.db"
    path.write_bytes(b"not a database at all" * 100)
    assert "not a database" in refused("--data-dir", str(tmp_path), "--port", "0")
    assert path.read_bytes() == b"not a database at all" * 100
    report = Shell("", tmp_path).run("doctor", "--data-dir", tmp_path, code=1)
    assert "BAD  database" in report.stdout


def test_damage_inside_of_the_database_is_told(tmp_path: Path) -> None:
    with local_server(tmp_path) as server, Api(server.url, LOCAL_EDITION) as api:
        api.ready("alice")
    path = tmp_path / "image_poster.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)  # the first page says what the others are
    path.write_bytes(content)
    said = refused("--data-dir", str(tmp_path), "--port", "0")
    assert "cannot be used" in said
    assert "restore it from a backup" in said


def test_what_the_server_makes_is_its_users_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with local_server(data):
        pass
    data.chmod(0o755)  # as an earlier version made it
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        api.ready("alice")
        modes = {path: path.stat().st_mode & 0o077 for path in [data, *data.rglob("*")]}
    assert len(modes) > 10
    assert set(modes.values()) == {0}


def modes(data: Path) -> dict[str, tuple[str, int]]:
    """Permissions and groups, by the path in the data folder, of what others may get at."""
    stats = {path: path.stat() for path in [data, *data.rglob("*")]}
    return {
        str(path.relative_to(data)): (f"{now.st_mode & 0o777:o}", now.st_gid)
        for path, now in stats.items()
        if now.st_mode & 0o077
    }


def test_renditions_may_be_opened_to_one_group_and_nothing_else(tmp_path: Path) -> None:
    data, group = tmp_path / "data", (os.getgroups() or [os.getgid()])[-1]
    flags = ("--renditions-group", str(group))
    with local_server(data) as server, Api(server.url, LOCAL_EDITION) as api:
        ids = [api.ready("alice")["id"]]
    with local_server(data, *flags) as server, Api(server.url, LOCAL_EDITION) as api:
        ids.append(api.ready("alice")["id"])
        actual_modes = modes(data)
    expected = {".": ("710", group), "renditions": ("750", group)}
    for post_id in ids:
        expected[f"renditions/{post_id[-2:]}"] = ("750", group)
        for name in ("600", "1600"):
            expected[f"renditions/{post_id[-2:]}/{post_id}.{name}.jpg"] = ("640", group)
    assert actual_modes == expected
    Shell("", tmp_path).run("doctor", "--data-dir", data)
    assert modes(data) == expected
    with local_server(data):
        assert not {".", "renditions"} & modes(data).keys()
    said = refused("--data-dir", str(data), "--port", "0", "--renditions-group", "no such group")
    assert "there is no group no such group here" in said


def test_a_damaged_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "cursor.key").touch()
    said = refused("--data-dir", str(tmp_path), "--port", "0")
    assert "cursor.key is damaged: it has 0 bytes instead of 32" in said


def test_several_processes_end_without_a_word_and_leave_nothing_elsewhere(tmp_path: Path) -> None:
    flags = ("--data-dir", str(tmp_path / "data"), "--workers", "2")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with (tmp_path / "log").open("w") as log:
        start(LOCAL, *flags, log=log, TMPDIR=str(temporary)).kill()
        server = start(LOCAL, *flags, log=log, TMPDIR=str(temporary))
        assert server.stop() == 0
    assert (tmp_path / "log").read_text() == ""
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "data" / "metrics").exists()
