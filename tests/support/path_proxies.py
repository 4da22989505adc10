"""The proxies of `deploy/` with the server below `/api`, as docs/proxies.md says: the path is left
or taken away. Without TLS, which the clients tried there have no certificate for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.pages import blocks
from support.proxies import PROXIES, Position, program

_PAGE = Path(__file__).parents[2] / "docs" / "proxies.md"
# The lines of `deploy/` that the page's stand for.
_FORMER = {
    "nginx": "        location / {\n            proxy_pass http://image_poster;\n",
    "caddy": "\treverse_proxy 127.0.0.1:8080 {\n",
}


def why_not(name: str) -> str:
    """Why this proxy cannot be run; empty if it can."""
    return "" if program(name) else f"{name} is not installed (make tools-debian)"


@contextmanager
def proxy(name: str, folder: Path, port: int, server: str, *, strips: bool) -> Iterator[None]:
    """`nginx` or `caddy` on the port, with `server` at `/api/`."""
    folder.mkdir()
    runner = f"{name}-{'strips' if strips else 'leaves'}"
    (lines,) = (block.code for block in blocks(_PAGE) if block.runner == runner)
    place = Position(port, plain=True, changes={_FORMER[name]: lines})
    with PROXIES[name](folder, server.removeprefix("http://"), place):
        yield
