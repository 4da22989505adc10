"""`make attacks`: the effect of hostile clients on the service, by itself and behind each proxy of
`deploy/`. It measures `GET /healthz` of another client, on a new connection each time, and the
server's memory. TLS, tokens and limits are in force.

`python benchmarks/attacks.py direct caddy` runs some fronts only. `--python OTHER/.venv/bin/python`
attacks another version (direct only), for a table of before and after. `--smoke` runs all with
small numbers. The exit status is 1 if the other client waited for more than 2 s, or got no answer.
"""

import argparse
import contextlib
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from support import holding, samples, servers
from support.api import LOCAL as LOCAL_EDITION
from support.api import Api
from support.holding import Target
from support.issuer import AUDIENCE, KEYS, FakeIssuer, drip, garbage_token, running_issuer
from support.proxies import PROXIES, Proxy, program
from support.shell import Shell

MAX_SECONDS = 2.0
_FEW_REQUESTS, _STRANGERS = 200, 16
LONG_TEXT = "\N{CAMERA}" * 2000  # 4 bytes of UTF-8 each
LARGEST_PAGE = "/posts?limit=100&comments=10"
DEV = {"user-id": "mallory"}


@dataclass(frozen=True)
class Scale:
    """Numbers of connections and their seconds; the posts and readers of the largest page."""

    connections: int
    seconds: float
    posts: int
    readers: int
    flood_seconds: float


FULL = Scale(connections=4_300, seconds=40, posts=100, readers=80, flood_seconds=8)
SMOKE = Scale(connections=100, seconds=1, posts=3, readers=5, flood_seconds=1)


@dataclass
class Front:
    """The service as it is reached: a name, the server's process, where to connect to, and how to
    ask; `headers` say who mallory is."""

    name: str
    server: psutil.Process
    target: Target
    url: str
    headers: dict[str, str]
    certificate: Path | None = None

    def client(self) -> httpx.Client:
        """Of mallory's, from an address of his own."""
        verify: Any = self.target.tls or True
        way = httpx.HTTPTransport(verify, local_address=holding.ATTACKER)
        return httpx.Client(base_url=self.url, transport=way, headers=self.headers, timeout=60)


@dataclass
class Row:
    """The result of one attack. `worst` is the longest wait of another client in seconds (infinite:
    not served). Memory is the server's, in MB, before the attack and at its highest."""

    front: str
    attack: str
    worst: float
    before_mb: int
    peak_mb: int
    remark: str

    def text(self) -> str:
        verdict = "ok" if self.worst <= MAX_SECONDS else "SHORT"
        waited = f"{self.worst:6.2f} s" if self.worst < 1000 else "  never "
        memory = f"{self.before_mb} -> {self.peak_mb} MB"
        return f"{self.front:<7} {self.attack:<42} {waited} {verdict:<6} {memory:<16} {self.remark}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Attack the service and see whom it hurts.")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--python", help="of another version's .venv")
    parser.add_argument("--probe", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("fronts", nargs="*", metavar="FRONT", help=f"direct, {', '.join(PROXIES)}")
    arguments = parser.parse_args()
    if arguments.probe:
        _probe(*arguments.probe)
        return 0
    if arguments.python:
        servers.LOCAL = (arguments.python, *servers.LOCAL[1:])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = list(_all(arguments.fronts or ["direct", *PROXIES], SMOKE if arguments.smoke else FULL))
    waiting = [row for row in rows if row.worst > MAX_SECONDS]
    print(f"{len(rows) - len(waiting)} of {len(rows)} attacks kept nobody else waiting")
    return 1 if waiting else 0


def _all(names: list[str], scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(prefix=".attacks-", dir=Path.cwd()) as folder:
        Path(folder).chmod(0o755)
        data = Path(folder, "data")
        _fill(data, scale)
        for name in names:
            if name != "direct" and program(name) is None:
                print(f"  skipped: {name} is not installed (make tools-debian)")
                continue
            for row in _attacks(name, Path(folder), scale):
                print(row.text(), flush=True)
                yield row


def _fill(data: Path, scale: Scale) -> None:
    """The largest page that there can be."""
    with _served(data) as server, Api(server.url, LOCAL_EDITION) as api:
        for _ in range(scale.posts):
            post = api.ready("alice", samples.jpeg(64, 64), caption=LONG_TEXT, alt=LONG_TEXT[:1500])
            for _ in range(10):
                api.comment(post["id"], "bob", LONG_TEXT)


def _attacks(name: str, folder: Path, scale: Scale) -> Iterator[Row]:
    for label, attack in _HOLDING.items():
        with _front(name, folder) as front:
            count = scale.readers if attack is _unread else scale.connections
            yield _held(front, f"{count:,} {label}", attack(front, count), scale.seconds)
    with _front(name, folder) as front:
        yield _reservations(front, scale)
        began = time.monotonic()
    with _front(name, folder) as front:
        print(f"  (started again within {time.monotonic() - began:.1f} s, proxy and all)")
        yield _flood(front, scale)
    with _front(name, folder, "--requests-per-minute", str(_FEW_REQUESTS)) as front:
        yield _heads_of_all_kinds(front, scale)
    with running_issuer() as issuer:
        flags = ("--jwt-issuer", issuer.url, "--jwt-audience", AUDIENCE)
        with _front(name, folder, "--auth", "jwt", *flags) as front:
            yield _dripping_issuer(front, issuer, folder, scale)


Holding = AbstractContextManager[list[socket.socket]]


def _idle(front: Front, count: int) -> Holding:
    return holding.idle(front.target, count)


def _heads(front: Front, count: int) -> Holding:
    return holding.unfinished_heads(front.target, count)


def _bodies(front: Front, count: int) -> Holding:
    lines = [f"{name}: {value}" for name, value in front.headers.items()]
    return holding.unfinished_bodies(front.target, count, *lines)


def _unread(front: Front, count: int) -> Holding:
    return holding.unread_answers(front.target, count, LARGEST_PAGE)


_HOLDING: dict[str, Callable[[Front, int], Holding]] = {
    "idle connections": _idle,
    "unfinished heads": _heads,
    "unfinished bodies": _bodies,
    "who do not read the largest page": _unread,
}


@contextmanager
def _served(data: Path, *flags: str) -> Iterator[servers.Server]:
    """Ours, without its log, which would drown the table."""
    with Path(os.devnull).open("w") as nowhere:
        server = servers.start(servers.LOCAL, "--data-dir", str(data), *flags, log=nowhere)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _front(name: str, folder: Path, *more: str) -> Iterator[Front]:
    """The service alone, with dev, as every version has it; or behind a proxy as in public. `more`
    are flags."""
    data = folder / "data"
    with ExitStack() as stack:
        if name == "direct":
            server = stack.enter_context(_served(data, *more))
            host, _, port = server.url.removeprefix("http://").partition(":")
            target = Target((host, int(port)), "localhost")
            yield Front(name, psutil.Process(server.process.pid), target, server.url, DEV)
            return
        flags = ("--auth", "jwt", "--trusted-proxies", "127.0.0.1,::1")
        server = stack.enter_context(_served(data, *flags, *more))
        front = folder / name
        front.mkdir(exist_ok=True)
        upstream = server.url.removeprefix("http://")
        proxy = stack.enter_context(PROXIES[name](front, upstream))
        yield _behind(name, proxy, psutil.Process(server.process.pid), data, front)


def _behind(name: str, proxy: Proxy, server: psutil.Process, data: Path, folder: Path) -> Front:
    return Front(
        name,
        server,
        Target(("127.0.0.1", proxy.address[1]), "localhost", proxy.tls),
        proxy.url,
        _bearer(f"mallory of {name}", data),
        folder / "certificate.pem",
    )


def _bearer(user: str, data: Path) -> dict[str, str]:
    shell = Shell("", data.parent / "state")
    token = shell.run("token", user, "--data-dir", str(data)).stdout.strip()
    return {"authorization": f"Bearer {token}"}


def _held(front: Front, name: str, attack: Holding, seconds: float) -> Row:
    """An attack that holds connections, and how many of them are still open afterwards."""
    before = _megabytes(front)
    with _watched(front) as watch, attack as connections:
        peak, end = before, time.monotonic() + seconds
        while time.monotonic() < end:
            peak = max(peak, _megabytes(front))
            time.sleep(0.2)
        left = len(front.server.net_connections())
    remark = f"{len(connections):,} were let in; {left:,} files open at its end"
    return Row(front.name, name, watch["worst"], before, peak, remark)


def _reservations(front: Front, scale: Scale) -> Row:
    """Uploads announced with as much metadata as is taken, as fast as can be."""
    sent = {
        "tus-resumable": "1.0.0",
        "upload-length": "1000000",
        "upload-metadata": "x " + "YWFh" * 14_000,
    }
    statuses: dict[int, int] = {}
    before = _megabytes(front)
    with _watched(front) as watch, front.client() as client:
        end = time.monotonic() + scale.flood_seconds
        while time.monotonic() < end:
            status = _count(statuses, client, "POST", "/uploads", headers=sent)
            if status in (400, 431):
                sent["upload-metadata"] = "x " + "YWFh" * 1900
    name = f"uploads reserved for {scale.flood_seconds:.0f} s"
    return Row(front.name, name, watch["worst"], before, _megabytes(front), _said(statuses))


def _count(
    statuses: dict[int, int], client: httpx.Client, method: str, path: str, **parts: Any
) -> int | None:
    """Send a request and count its status. None if the proxy closed the connection: nginx does so
    after a thousand requests, and both after a request that they find too large."""
    try:
        status = client.request(method, path, **parts).status_code
    except httpx.RemoteProtocolError:
        return None
    statuses[status] = statuses.get(status, 0) + 1
    return status


def _flood(front: Front, scale: Scale) -> Row:
    """Comments of one user, as fast as can be."""
    statuses: dict[int, int] = {}
    before = _megabytes(front)
    with _watched(front) as watch, front.client() as client:
        post_id = client.get("/posts?limit=1").json()["posts"][0]["id"]
        end = time.monotonic() + scale.flood_seconds
        while time.monotonic() < end:
            path = f"/posts/{post_id}/comments"
            _count(statuses, client, "POST", path, json={"content": LONG_TEXT})
    name = f"comments for {scale.flood_seconds:.0f} s"
    return Row(front.name, name, watch["worst"], before, _megabytes(front), _said(statuses))


def _heads_of_all_kinds(front: Front, scale: Scale) -> Row:
    """Requests that ask for no content, of any path, as fast as can be; they must meet the limit by
    address."""
    as_head = {"x-http-method-override": "HEAD"}
    kinds: list[tuple[str, str, dict[str, str]]] = [
        ("HEAD", "/posts", {}),
        ("HEAD", "/nothing", {}),
        ("POST", "/posts", as_head),
    ]
    statuses: dict[int, int] = {}
    before = _megabytes(front)
    with _watched(front) as watch, front.client() as client:
        client.headers.pop("authorization", None)
        end = time.monotonic() + scale.flood_seconds
        while time.monotonic() < end or sum(statuses.values()) < 2 * _FEW_REQUESTS:
            for method, path, headers in kinds:
                _count(statuses, client, method, path, headers=headers)
    name = f"HEADs of all kinds for {scale.flood_seconds:.0f} s"
    worst = watch["worst"] if 429 in statuses else float("inf")
    return Row(front.name, name, worst, before, _megabytes(front), _said(statuses))


def _dripping_issuer(front: Front, issuer: FakeIssuer, folder: Path, scale: Scale) -> Row:
    """Tokens with keys that nobody knows, while their issuer sends its keys byte by byte. Somebody
    with a token of the service's own posts meanwhile."""
    issuer.misbehave[KEYS] = drip
    tokens = [garbage_token(issuer.claims("mallory")) for _ in range(20)]
    statuses: dict[int, int] = {}
    before, is_over = _megabytes(front), threading.Event()

    def ask() -> None:
        with front.client() as client:
            while not is_over.is_set():
                client.headers["authorization"] = f"Bearer {random.choice(tokens)}"
                _count(statuses, client, "DELETE", "/posts/no-id")

    strangers = [threading.Thread(target=ask) for _ in range(_STRANGERS)]
    with _watched(front) as watch:
        for stranger in strangers:
            stranger.start()
        waits = _post_images(front, _bearer("alice", folder / "data"), scale.seconds)
        is_over.set()
        for stranger in strangers:
            stranger.join()
    name = f"a dripping issuer and {_STRANGERS} strangers for {scale.seconds:.0f} s"
    said = f"{len(waits)} posts, each within {max(waits):.2f} s; {_said(statuses)}"
    worst = max(watch["worst"], *waits)
    return Row(front.name, name, worst, before, _megabytes(front), said)


def _post_images(front: Front, headers: dict[str, str], seconds: float) -> list[float]:
    """Post an image each second; how long each took."""
    waits: list[float] = []
    verify: Any = front.target.tls or True
    image, end = samples.jpeg(64, 64), time.monotonic() + seconds
    with httpx.Client(base_url=front.url, verify=verify, headers=headers, timeout=60) as client:
        while not waits or time.monotonic() < end:
            began = time.monotonic()
            sent = client.post("/posts", files={"image": ("a.jpg", image)})
            waits.append(time.monotonic() - began if sent.status_code == 201 else float("inf"))
            time.sleep(1)
    return waits


def _said(statuses: dict[int, int]) -> str:
    return ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items()))


def _megabytes(front: Front) -> int:
    return int(front.server.memory_info().rss >> 20)


@contextmanager
def _watched(front: Front) -> Iterator[dict[str, float]]:
    """Somebody else, in a process of their own, as long as the block lasts."""
    command = [sys.executable, __file__, "--probe", front.url, str(front.certificate or "")]
    probe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert probe.stdout is not None
    probe.stdout.readline()
    results: dict[str, float] = {}
    try:
        yield results
    finally:
        output, _ = probe.communicate("")
        results.update(json.loads(output))


def _probe(url: str, certificate: str) -> None:
    """Ask until standard input ends; the worst wait."""
    import select  # noqa: PLC0415 - for this process only
    import ssl  # noqa: PLC0415

    tls: Any = ssl.create_default_context(cafile=certificate) if certificate else True
    print("ready", flush=True)
    worst = 0.0
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        began = time.monotonic()
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/healthz", verify=tls, timeout=60).status_code == 200:
                worst = max(worst, time.monotonic() - began)
                continue
        worst = float("inf")
    print(json.dumps({"worst": worst}))


if __name__ == "__main__":
    sys.exit(main())
