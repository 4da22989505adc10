"""Start what is measured, pinned to the cores of the server side."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

from aws_local.ports import free_port
from load import LOAD_CORES, SERVER_CORES
from support.peers import FOLDER

PEERS = Path(__file__).parent / "peers"


@contextmanager
def ours(
    data_dir: Path, *flags: str, cores: set[int] = SERVER_CORES, port: int = 0
) -> Iterator[tuple[str, int]]:
    """Our server's URL and process id."""
    command = [sys.executable, "-m", "image_poster", "serve", "--port", str(port)]
    with _announced([*command, "--data-dir", str(data_dir), *flags], cores) as server:
        yield server


@contextmanager
def tus_js(folder: Path, port: int = 0) -> Iterator[tuple[str, int]]:
    """`@tus/server` with its store of files."""
    folder.mkdir(exist_ok=True)
    command = ["node", str(FOLDER / "server.mjs"), str(folder), str(port)]
    with _announced(command, SERVER_CORES) as server:
        yield server


@contextmanager
def dynalite() -> Iterator[tuple[str, int]]:
    """DynamoDB's API over LevelDB."""
    with _announced(["node", str(FOLDER / "dynamodb.mjs")], SERVER_CORES) as server:
        yield server


_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    client_max_body_size 0; client_body_temp_path {folder}/temporary;
    proxy_temp_path {folder}/1; fastcgi_temp_path {folder}/2; uwsgi_temp_path {folder}/3;
    scgi_temp_path {folder}/4;
    {more}
    server {{ listen 127.0.0.1:{port}; {server} }}
}}
"""
_FILES = "root {folder}/files; dav_methods PUT;"
# What deploy/nginx.conf does for images, without TLS.
_FRONT = """
location / {{
    proxy_pass http://ours; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
}}
location /renditions/ {{
    internal; root {data_dir}; etag off; add_header ETag $upstream_http_etag;
    add_header X-Request-Id $upstream_http_x_request_id;
}}
"""


def nginx(folder: Path) -> AbstractContextManager[tuple[str, int]]:
    """nginx, taking files by PUT into `folder`/files, with one process."""
    (folder / "files").mkdir(parents=True)
    return _nginx(folder, "", _FILES.format(folder=folder))


def front(folder: Path, url: str, data_dir: Path) -> AbstractContextManager[tuple[str, int]]:
    """A server of ours over `data_dir` behind nginx, which sends renditions itself."""
    folder.mkdir()
    upstream = f"upstream ours {{ server {url.removeprefix('http://')}; keepalive 64; }}"
    return _nginx(folder, upstream, _FRONT.format(data_dir=data_dir))


@contextmanager
def _nginx(folder: Path, more: str, server: str) -> Iterator[tuple[str, int]]:
    port = free_port()
    (folder / "conf").write_text(_NGINX.format(folder=folder, port=port, more=more, server=server))
    process = _start(["nginx", "-e", f"{folder}/log", "-c", f"{folder}/conf"], SERVER_CORES)
    try:
        _wait_for(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        _end(process)


@contextmanager
def same_bytes(body: Path) -> Iterator[tuple[str, int]]:
    """The same server answering `body` from memory."""
    command = [sys.executable, str(PEERS / "same_bytes.py"), "0", str(body)]
    with _announced(command, SERVER_CORES) as server:
        yield server


@contextmanager
def receiver(kind: str) -> Iterator[str]:
    """The URL of a receiver of webhooks that accepts, hangs or is gone; `down`: nobody listens."""
    if kind == "down":
        yield f"http://127.0.0.1:{free_port()}"
        return
    command = [sys.executable, str(PEERS / "receiver.py"), "0", kind]
    with _announced(command, LOAD_CORES) as (url, _):
        yield url


@contextmanager
def fastapi(database: Path) -> Iterator[str]:
    """The FastAPI peer's URL."""
    port = free_port()
    process = _start(
        [
            *(sys.executable, "-m", "uvicorn", "fastapi_app:app", "--port", str(port)),
            *("--no-access-log", "--log-level", "warning", "--loop", "uvloop"),
        ],
        SERVER_CORES,
        cwd=PEERS,
        env={**os.environ, "PEER_DATABASE": str(database)},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/count")
        yield url
    finally:
        _end(process)


_DIRECTUS_RUN = PEERS / "directus/node_modules/@directus/api/dist/cli/run.js"
_DIRECTUS_USER = {"email": "bench@example.com", "password": "bench-bench"}


def why_no_directus() -> str:
    """Why it cannot be run; empty if it can."""
    if shutil.which("node") is None:
        return "node is not installed"
    return "" if _DIRECTUS_RUN.exists() else "Directus is not installed: run `make peers-directus`"


@contextmanager
def directus(folder: Path, cores: set[int]) -> Iterator[tuple[str, str]]:
    """Directus with a new database: its URL, and a token of its administrator's."""
    (folder / "extensions").mkdir(parents=True)
    url = f"http://127.0.0.1:{(port := free_port())}"
    # Not by its command, which would first ask a registry for newer ones.
    command, environment = ["node", str(_DIRECTUS_RUN)], _directus_environment(folder, port)
    with (folder / "log").open("wb") as log:
        where: dict[str, Any] = {"cwd": folder, "env": environment, "stdout": log, "stderr": log}
        subprocess.run([*command, "bootstrap"], check=True, **where)
        process = _start([*command, "start"], cores, **where)
        try:
            _wait_for(f"{url}/server/ping", 60)
            yield url, _directus_token(url)
        finally:
            _end(process)


def _directus_environment(folder: Path, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SECRET": "bench",
        "LOG_LEVEL": "error",
        "TELEMETRY": "false",
        "ACCESS_TOKEN_TTL": "1d",
        "ADMIN_EMAIL": _DIRECTUS_USER["email"],
        "ADMIN_PASSWORD": _DIRECTUS_USER["password"],
        "DB_CLIENT": "sqlite3",
        "DB_FILENAME": str(folder / "database"),
        "STORAGE_LOCAL_ROOT": str(folder / "files"),
        "EXTENSIONS_PATH": str(folder / "extensions"),
    }


def _directus_token(url: str) -> str:
    body, headers = json.dumps(_DIRECTUS_USER).encode(), {"content-type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}/auth/login", body, headers)
    ) as server:
        return str(json.load(server)["data"]["access_token"])


@contextmanager
def _announced(command: list[str], cores: set[int]) -> Iterator[tuple[str, int]]:
    """The URL at the end of the first line that the server prints, and its process id. Its log
    would drown the table: what it says is shown only if it does not start (`RuntimeError`)."""
    with tempfile.TemporaryFile() as log:
        process = _start(command, cores, stdout=subprocess.PIPE, stderr=log)
        try:
            yield _url(process, log), process.pid
        finally:
            _end(process)


def _url(process: subprocess.Popen[bytes], log: IO[bytes]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    if line:
        return line.split()[-1]
    process.wait()
    log.seek(0)
    raise RuntimeError(f"{process.args!r} did not start: {log.read().decode(errors='replace')}")


def _start(command: list[str], cores: set[int], **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - we have no threads
        **options,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _wait_for(url: str, seconds: float = 10) -> None:
    for _ in range(round(seconds / 0.05)):
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.HTTPError as answered:
            answered.close()
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(url)
