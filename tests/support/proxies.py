"""The proxies of `deploy/`, started for real: its files with other names, ports and certificates in
them, and nothing else changed."""

import datetime as dt
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aws_local.ports import free_port
from support.waiting import wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
_START_SECONDS = 60
# Where Debian has them, also for who is not root.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])


@dataclass(frozen=True)
class Position:
    """The port of a proxy, `plain` without TLS, and the changes of its file: former text by new
    text."""

    port: int
    plain: bool = False
    changes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Proxy:
    """Its address, the TLS context that trusts it, and its process."""

    url: str
    tls: ssl.SSLContext
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.rpartition("/")[2].partition(":")
        return host, int(port)


def program(name: str) -> str | None:
    """Its path, if it is installed."""
    return shutil.which(name, path=_PATH)


def certificate(folder: Path) -> tuple[Path, Path]:
    """One for localhost, good for a day, signed by nobody but itself; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_path, key_path


def replaced(text: str, changes: dict[str, str]) -> str:
    """Each of `changes` is there, or the file has become another than this was written for."""
    for old, new in changes.items():
        assert old in text, f"deploy/ no longer has {old!r}"
        text = text.replace(old, new)
    return text


@contextmanager
def caddy(folder: Path, upstream: str, place: Position | None = None) -> Iterator[Proxy]:
    """`deploy/Caddyfile` in front of `upstream` (host:port)."""
    (certificate_path, key_path), place = certificate(folder), place or Position(free_port())
    site = f"https://localhost:{place.port} {{\n\ttls {certificate_path} {key_path}"
    if place.plain:
        site = f"http://127.0.0.1:{place.port} {{"
    changes = {
        **place.changes,
        "{\n\tservers {": f"{{\n\tadmin off\n\tauto_https off\n\thttp_port {free_port()}\n"
        f"\tskip_install_trust\n\tservers {{",
        "photos.example.org {": f"{site}\n\tbind 127.0.0.1",
        "127.0.0.1:8080": upstream,
    }
    config = folder / "Caddyfile"
    config.write_text(replaced((DEPLOY / "Caddyfile").read_text(), changes))
    command = [str(program("caddy")), "run", "--config", str(config), "--adapter", "caddyfile"]
    with _running(command, folder, place, certificate_path) as proxy:
        yield proxy


@contextmanager
def nginx(folder: Path, upstream: str, place: Position | None = None) -> Iterator[Proxy]:
    """`deploy/nginx.conf` in front of `upstream` (host:port)."""
    (certificate_path, key_path), place = certificate(folder), place or Position(free_port())
    listen = f"listen 127.0.0.1:{place.port}{'' if place.plain else ' ssl http2'};"
    live = "/etc/letsencrypt/live/photos.example.org"
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    changes = {
        **place.changes,
        "user www-data;\n": "user www-data;\n" if os.geteuid() == 0 else "",
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid; daemon off;",
        "http {\n": f"http {{\n{temporary}",
        "/var/log/nginx/error.log": f"{folder}/error.log",
        f"{live}/fullchain.pem": str(certificate_path),
        f"{live}/privkey.pem": str(key_path),
        "listen 80;": f"listen 127.0.0.1:{free_port()};",
        "        listen [::]:80;\n": "",
        "listen 443 ssl http2;": listen,
        "        listen [::]:443 ssl http2;\n": "",
        "server_name photos.example.org;": "server_name localhost;",
        "127.0.0.1:8080": upstream,
    }
    config = folder / "nginx.conf"
    config.write_text(replaced((DEPLOY / "nginx.conf").read_text(), changes))
    command = [str(program("nginx")), "-e", f"{folder}/error.log", "-c", str(config)]
    with _running(command, folder, place, certificate_path) as proxy:
        yield proxy


Start = Callable[..., AbstractContextManager[Proxy]]
PROXIES: dict[str, Start] = {"caddy": caddy, "nginx": nginx}


@contextmanager
def _running(
    command: list[str], folder: Path, place: Position, certificate_path: Path
) -> Iterator[Proxy]:
    folder.chmod(0o755)  # nginx's workers are another user's
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")},
        )
    try:
        _wait_until_it_listens(process, place.port, folder / "log")
        tls = ssl.create_default_context(cafile=str(certificate_path))
        yield Proxy(f"{'http' if place.plain else 'https'}://localhost:{place.port}", tls, process)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def failure() -> str:
        return f"the proxy does not listen: {log.read_text()}"

    def listens() -> bool:
        assert process.poll() is None, failure()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, seconds=_START_SECONDS, message=failure)
