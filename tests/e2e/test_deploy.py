"""The files in `deploy/`, started for real: proxies with TLS in front of a server with limits, and
the unit's confinement around it. Tests of programs that are not installed are skipped; `make
tools-debian` installs them."""

import contextlib
import grp
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from aws_local.ports import free_port
from support import holding, moderation, samples, system_calls
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api, assert_problem
from support.holding import Target
from support.proxies import DEPLOY, PROXIES, Position, Proxy, program
from support.servers import LOCAL, local_server, running, start, wait_until_ready
from support.shell import COMMAND, Shell
from support.waiting import wait_until

UNIT = DEPLOY / "image-poster.service"
INSTALLED_AT = "/opt/image-poster/.venv/bin/image-poster"
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": "0"}
IMAGE_BYTES = 2_000_000


def needs(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if program(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"not installed: {', '.join(missing)} (make tools-debian)"
    )


@dataclass
class Whole:
    """A server with tokens and limits behind a proxy, and a client of alice's that trusts the
    proxy's certificate."""

    proxy: Proxy
    shell: Shell
    client: httpx.Client

    @property
    def target(self) -> Target:
        return Target(("127.0.0.1", self.proxy.address[1]), "localhost", self.proxy.tls)

    def token(self, user: str) -> dict[str, str]:
        token = self.shell.run("token", user).stdout.strip()
        return {"authorization": f"Bearer {token}"}


@pytest.fixture(
    params=[pytest.param(name, marks=needs(name)) for name in PROXIES], ids=list(PROXIES)
)
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Whole]:
    data, front = tmp_path / "data", tmp_path / "front"
    front.mkdir()
    tmp_path.chmod(0o755)
    shell = Shell("http://127.0.0.1:1", tmp_path / "state")
    shell.variables["IMAGE_POSTER_DATA_DIR"] = str(data)
    flags = ("--auth", "jwt", "--host", "0.0.0.0", "--trusted-proxies", "127.0.0.1,::1")  # noqa: S104
    limits = ("--requests-per-minute", "60", "--image-bytes", str(IMAGE_BYTES))
    with ExitStack() as stack:
        server = stack.enter_context(local_server(data, *flags, *limits))
        port = server.url.rpartition(":")[2]
        proxy = stack.enter_context(PROXIES[request.param](front, f"127.0.0.1:{port}"))
        client = httpx.Client(base_url=proxy.url, verify=proxy.tls, timeout=120)
        deployment = Whole(proxy, shell, stack.enter_context(client))
        client.headers.update(deployment.token("alice"))
        yield deployment


def test_an_image_goes_through_and_limits_are_those_of_who_asks(whole: Whole) -> None:
    client = whole.client
    image = {"image": ("photo.jpg", samples.jpeg(1200, 900))}
    answer = client.post("/posts", files=image, data={"caption": "At the lake"})
    assert answer.status_code == 201, answer.text
    post = client.get(f"{answer.headers['location']}?wait=20").json()
    assert post["status"] == "ready"
    shown = client.get(post["image"]["url"])
    assert shown.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert shown.headers["strict-transport-security"]
    part = client.get(post["image"]["large"]["url"], headers={"range": "bytes=10-19"})
    assert (part.status_code, len(part.content)) == (206, 10)
    # Whatever a client writes there, it is who it is; and never a program on this machine.
    written = {"x-forwarded-for": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    assert_problem(client.get("/metrics", headers=written), 403, "admins_only")
    answers, began = list[httpx.Response](), time.monotonic()
    while not answers or answers[-1].status_code == 200:
        sent = {
            "x-forwarded-for": f"203.0.113.{len(answers)}",
            "origin": "https://elsewhere.example",
        }
        answers.append(client.get("/healthz", headers=sent))
    # One more for each second in which the minute before is forgotten.
    assert len(answers) <= 61 + (time.monotonic() - began)
    assert_problem(answers[-1], 429, "rate_limited")
    assert answers[-1].headers["retry-after"]
    assert answers[-1].headers["access-control-allow-origin"] == "*"
    # Somebody else, by another address of this machine, is somebody else.
    with httpx.Client(
        verify=whole.proxy.tls,
        transport=httpx.HTTPTransport(whole.proxy.tls, local_address="127.0.0.2"),
    ) as other:
        address = f"https://127.0.0.1:{whole.proxy.address[1]}/healthz"
        health = other.get(
            address, headers={"host": "localhost"}, extensions={"sni_hostname": "localhost"}
        )
        assert health.status_code == 200


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in PROXIES])
def test_the_proxy_sends_images_once_the_service_has_said_which(name: str) -> None:
    """The proxy's workers, another user's where the test may start them so, read what their group
    may; what they send is what the service would."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ExitStack() as stack:
        Path(folder).chmod(0o711)  # pytest's own folders let no other user through
        data, front = Path(folder, "data"), Path(folder, "front")
        front.mkdir()
        group = grp.getgrnam("www-data").gr_gid if os.geteuid() == 0 else os.getgid()
        rights = ("--renditions-group", str(group), "--admins", moderation.ADMIN)
        flags = ("--trusted-proxies", "127.0.0.1", *rights)
        server = stack.enter_context(local_server(data, *flags, "--accel-redirect"))
        upstream = server.url.removeprefix("http://")
        place = Position(free_port(), changes={"/var/lib/image-poster": str(data)})
        proxy = stack.enter_context(PROXIES[name](front, upstream, place))
        client = stack.enter_context(httpx.Client(base_url=proxy.url, verify=proxy.tls))
        api = stack.enter_context(Api(server.url, LOCAL_EDITION))
        post = api.ready("alice", samples.jpeg(1700, 1300))
        for url in (post["image"]["url"], post["image"]["large"]["url"]):
            assert_sent_as_by_the_service(client, api, url)
        [file] = data.glob("renditions/*/*.1600.jpg")
        forged = {"x-accel-redirect": "/token.key", "x-sendfile": "/token.key"}
        for path in (f"/renditions/{file.parent.name}/{file.name}", "/renditions/", "/cursor.key"):
            assert client.get(path, headers=forged).status_code == 404
        assert_never_sent_while_hidden(client, api, post, file)
        # The row decides, not the file.
        stored_bytes = file.read_bytes()
        assert api.send("DELETE", f"/posts/{post['id']}", "alice").status_code == 204
        file.write_bytes(stored_bytes)
        assert_problem(client.get(post["image"]["large"]["url"]), 404, "image_not_found")


def assert_never_sent_while_hidden(
    client: httpx.Client, api: Api, post: dict[str, Any], file: Path
) -> None:
    """The proxy can read no file of a hidden post; its creator gets it from the service."""
    subject, url = moderation.post_subject(post), post["image"]["large"]["url"]
    moderation.decide(api, "hide", subject)
    assert_problem(client.get(url), 404, "image_not_found")
    withheld = f"/withheld/{file.parent.name}/{file.name}"
    for path in (withheld, f"/renditions/..{withheld}", f"/renditions/%2e%2e{withheld}"):
        assert client.get(path, headers={"x-accel-redirect": withheld}).status_code == 404
    own = f"/me/images/{post['id']}/1600.jpg"
    assert client.get(own).status_code == 401
    answer = client.get(own, headers={"user-id": "alice"})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store")
    assert "last-modified" not in answer.headers  # the proxy has not looked at the file
    moderation.decide(api, "restore", subject)
    assert_sent_as_by_the_service(client, api, url)


def assert_sent_as_by_the_service(client: httpx.Client, api: Api, url: str) -> None:
    whole, ours = client.get(url, headers={"x-forwarded-for": "::1"}), api.get(url)
    assert (whole.status_code, whole.content) == (200, ours.content)
    for name in ("content-type", "cache-control", "content-length", "x-content-type-options"):
        assert whole.headers[name] == ours.headers[name], name
    assert whole.headers["strict-transport-security"]
    assert whole.headers["x-request-id"]
    assert "x-accel-redirect" not in whole.headers
    assert "last-modified" in whole.headers  # the proxy has looked at the file
    assert "last-modified" not in ours.headers
    etag = whole.headers["etag"]
    assert client.get(url, headers={"if-none-match": etag}).status_code == 304
    part = client.get(url, headers={"range": "bytes=10-19", "if-range": etag})
    assert (part.status_code, part.content) == (206, ours.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(ours.content)}"
    behind = client.get(url, headers={"range": "bytes=99999999-"})
    assert_problem(behind, 416, "range_not_satisfiable")
    head = client.head(url)
    assert (head.headers["content-length"], head.content) == (str(len(ours.content)), b"")


def test_what_came_of_an_upload_before_a_cut_is_kept(whole: Whole) -> None:
    """The proxy holds nothing back."""
    image = samples.jpeg(1200, 900)
    size = {**TUS, "upload-length": str(len(image))}
    path = whole.client.post("/uploads", headers=size).headers["location"]
    path = path.removeprefix(whole.proxy.url)
    half = len(image) // 2
    lines = header_lines({**PIECE, **whole.token("alice")})
    head = [f"PATCH {path} HTTP/1.1", "host: localhost", f"content-length: {len(image)}", *lines]
    cut = whole.target.connect()
    cut.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + image[:half])
    offset = 0
    while offset < half:  # it is there while the request goes on
        offset = next(_sizes(whole, path))
    cut.close()
    answer = whole.client.head(path, headers=TUS)
    assert answer.headers["upload-offset"] == str(half)
    rest = {**PIECE, "upload-offset": str(half)}
    assert whole.client.patch(path, content=image[half:], headers=rest).status_code == 204
    post = whole.client.get(path.replace("uploads", "posts"), params={"wait": 20}).json()
    assert post["status"] == "ready"


def _sizes(whole: Whole, path: str) -> Iterator[int]:
    folder = Path(whole.shell.variables["IMAGE_POSTER_DATA_DIR"]) / "uploads"
    for file in folder.rglob(path.rpartition("/")[2]):
        yield file.stat().st_size
    yield 0


@pytest.mark.parametrize("size", [IMAGE_BYTES + 1_000_000, 200_000_000])
def test_too_large_a_body_is_a_problem_whoever_says_so(whole: Whole, size: int) -> None:
    head = [
        *("POST /posts HTTP/1.1", "host: localhost", f"content-length: {size}"),
        *("content-type: multipart/form-data; boundary=b", *header_lines(whole.token("alice"))),
    ]
    with whole.target.connect() as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n--b\r\n")
        answer = answer_while_sending(connection)
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert b"application/problem+json" in answer
    assert b'"code":"upload_too_large"' in answer


def header_lines(headers: dict[str, str]) -> list[str]:
    return [f"{name}: {value}" for name, value in headers.items()]


def answer_while_sending(connection: socket.socket) -> bytes:
    """As clients do: go on with the body until there is an answer."""
    answer = bytearray()
    connection.settimeout(0.02)

    def is_answered() -> bool:
        with contextlib.suppress(TimeoutError):
            answer.extend(connection.recv(65_536))
        with contextlib.suppress(OSError):  # it is closed: the rest of the answer can be read
            connection.sendall(b"x" * 4096)
        return answer.endswith(b"}")

    wait_until(is_answered, seconds=30, every=0)
    return bytes(answer)


def test_a_service_that_is_away_is_a_problem_too(tmp_path: Path) -> None:
    for name in filter(program, PROXIES):
        folder = tmp_path / name
        folder.mkdir()
        tmp_path.chmod(0o755)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            upstream = f"127.0.0.1:{nobody.getsockname()[1]}"
            with PROXIES[name](folder, upstream) as proxy:
                answer = httpx.get(f"{proxy.url}/posts", verify=proxy.tls)
        assert answer.status_code == 503, name
        assert answer.json()["code"] == "busy"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "2"
        assert answer.headers["access-control-allow-origin"] == "*"


def test_hostile_connections_keep_nobody_else_waiting(whole: Whole) -> None:
    """The full attacks are `make attacks`."""
    target, client = whole.target, whole.client
    long = "/docs/swagger-ui-bundle.js"
    with (
        holding.idle(target, 600) as idle,
        holding.unfinished_heads(target, 100) as heads,
        holding.unfinished_bodies(target, 90) as bodies,
        holding.unread_answers(target, 40, long) as unread,
    ):
        assert min(map(len, (idle, heads, bodies, unread))) > 0
        for _ in range(5):
            assert client.get("/healthz").status_code == 200
        image = {"image": ("photo.jpg", samples.jpeg())}
        answer = client.post("/posts", files=image)
        assert answer.status_code == 201
        post = client.get(f"{answer.headers['location']}?wait=20").json()
        assert post["status"] == "ready"


@needs("systemd-analyze")
def test_systemd_takes_the_unit_and_finds_it_confined(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    program_here = shutil.which("image-poster") or f"{Path(sys.executable).parent}/image-poster"
    unit.write_text(UNIT.read_text().replace(INSTALLED_AT, program_here))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=false", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in verified.stderr.splitlines() if UNIT.name in line]
    assert (verified.returncode, ours) == (0, [])
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exposure = re.search(r"Overall exposure level for \S+: (\d+\.\d)", judged)
    assert exposure is not None, judged
    assert float(exposure[1]) <= 2.0


def test_the_unit_names_settings_that_there_are() -> None:
    from dataclasses import fields

    from image_poster.editions.local.settings import Settings

    named = re.findall(r"^Environment=IMAGE_POSTER_(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE)
    assert named
    assert {name.lower() for name, _ in named} <= {field.name for field in fields(Settings)}
    Settings(auth="jwt", trusted_proxies=dict(named)["TRUSTED_PROXIES"])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_supervisor_is_told_once_the_service_answers(tmp_path: Path, workers: str) -> None:
    """As systemd listens (sd_notify(3)): a command after `systemctl start` finds the service."""
    assert "\nType=notify\n" in UNIT.read_text()
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(address)
        supervisor.settimeout(60)
        data = ("--data-dir", str(tmp_path / "data"), "--auth", "jwt", "--workers", workers)
        server = start(LOCAL, *data, NOTIFY_SOCKET=address)
        assert supervisor.recv(100) == b"READY=1"
        try:
            wait_until_ready(server.url)
            shell = Shell(server.url, tmp_path / "state")
            assert shell.run("token", "alice", *data[:2]).stdout
        finally:
            server.stop()


FILTERED = (sys.executable, system_calls.__file__, str(UNIT))


@needs("systemd-analyze")
def test_under_the_units_filter_decoders_are_confined_as_without(tmp_path: Path) -> None:
    """Debian's @system-service lacks landlock_* and seccomp."""
    shell = Shell("", tmp_path / "state")

    def sandbox(*before: str) -> str:
        done = subprocess.run(
            [*before, *COMMAND, "doctor", "--data-dir", str(tmp_path / "data")],
            capture_output=True,
            text=True,
            check=False,
            env=shell.variables,
        )
        lines = [line for line in done.stdout.splitlines() if "sandbox" in line]
        assert len(lines) == 1, done
        return lines[0]

    with local_server(tmp_path / "data"):
        assert sandbox(*FILTERED) == sandbox()


@needs("systemd-analyze")
def test_under_the_units_filter_the_service_does_its_work(tmp_path: Path) -> None:
    command = (*FILTERED, *LOCAL)
    with (
        running(command, "--data-dir", str(tmp_path), "--workers", "2") as server,
        Api(server.url, LOCAL_EDITION) as api,
    ):
        post = api.ready("alice", samples.jpeg(1200, 900))
        api.comment(post["id"], "bob")
        assert api.get(post["image"]["url"]).status_code == 200
    with pytest.raises(subprocess.CalledProcessError):  # and the filter is there
        subprocess.run(
            [*FILTERED, sys.executable, "-c", "import os; os.chroot('/')"],
            check=True,
            capture_output=True,
        )
