"""Proxies as small as can be, with the server at a path that they take away or leave there. (The
whole ones of `deploy/` are in `proxies`.)"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.proxies import program

_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;
events {{}}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/1; fastcgi_temp_path {folder}/2; uwsgi_temp_path {folder}/3;
    scgi_temp_path {folder}/4;
    server {{
        listen 127.0.0.1:{port};
        location /api/ {{
            proxy_pass {server}{stripped};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
        }}
    }}
}}
"""
_CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    {handle} /api/* {{
        reverse_proxy {server}
    }}
}}
"""


def why_not(name: str) -> str:
    """Why this proxy cannot be run; empty if it can."""
    return "" if program(name) else f"{name} is not installed"


@contextmanager
def proxy(name: str, folder: Path, port: int, server: str, *, strips: bool) -> Iterator[None]:
    """`nginx` or `caddy` on the port, with `server` at `/api/`."""
    folder.mkdir()
    config = folder / "config"
    if name == "nginx":
        stripped = "/" if strips else ""
        config.write_text(_NGINX.format(folder=folder, port=port, server=server, stripped=stripped))
        command = ["nginx", "-e", f"{folder}/log", "-c", str(config)]
    else:
        handle = "handle_path" if strips else "handle"
        config.write_text(_CADDY.format(port=port, server=server, handle=handle))
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=said,
            env={"PATH": "/usr/sbin:/usr/bin:/bin", "HOME": str(folder)},
        )
    try:
        _wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, "the proxy has ended"
            assert time.monotonic() < deadline, "the proxy does not listen"
            time.sleep(0.02)
        else:
            return
