"""The same server and framework, answering one fixed page from memory: what the feed costs beyond
HTTP is the difference. Run as `python same_bytes.py PORT FILE`."""

import sys
from pathlib import Path

import uvloop
from litestar import Litestar, Response, get

from image_poster.editions.local.server import announce, reserve_port, serve_until_stopped
from image_poster.http import metrics
from image_poster.http.encoding import Cors
from image_poster.http.middleware import Middleware
from image_poster.http.problems import EXCEPTION_HANDLERS
from image_poster.http.responses import json_response

BODY = Path(sys.argv[2]).read_bytes()


@get("/posts")
async def page() -> Response[bytes]:
    return json_response(BODY)


def main() -> None:
    app = Litestar([page], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None)
    with reserve_port("127.0.0.1", int(sys.argv[1])) as port:
        edge = Middleware(app, loopback_only=True, observers=(metrics.observe,), cors=Cors(()))
        uvloop.run(
            serve_until_stopped(edge, "127.0.0.1", port, lambda: announce("127.0.0.1", port))
        )


main()
