"""Count the way of typical requests through the package, and print it as a Markdown table.

A move is a call whose callee is in another module of the package than its nearest caller in the
package. A commit is a durable transaction of SQLite. The app of the local edition runs in this
process over a temporary folder, with `auth=jwt` and the default limits. Each request is sent once
before it is counted. `--targets` adds the moves by the module that they enter. `--aws` adds a
comment over DynamoDB's adapters and a table in memory; run it with `PYTHONPATH=tests:infra`.
"""

import argparse
import asyncio
import dis
import random
import sqlite3
import sys
import tempfile
import threading
from base64 import b64encode
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import image_poster
from image_poster.adapters.oidc import own_token
from image_poster.domain.images import RenderedImage, Size
from image_poster.domain.posts import published_post
from image_poster.domain.signing import Signer
from image_poster.editions.local.access import token_key
from image_poster.editions.local.container import open_container
from image_poster.editions.local.settings import Settings
from image_poster.http.app import HttpSettings, create_app
from image_poster.http.auth import DevAuthenticator
from image_poster.http.uploads import HmacPutUrlSigner
from image_poster.services import Services
from sample import SCENES, landscape, phone_image

_PACKAGE = f"{Path(image_poster.__file__).parent}/"
_IMAGE_BYTES, _CHUNK_BYTES = 1024 * 1024, 64 * 1024
# Of each upload, before the request that is counted.
_HALF = _IMAGE_BYTES // 2
_FIRST_ERROR = 400
_RENDERED = RenderedImage(Size(600, 600), Size(1600, 1067), "U0hash")
Headers = dict[str, str]


class Response(NamedTuple):
    """The response to a request of this script."""

    status: int
    headers: Headers
    body: bytes


@dataclass
class RequestPath:
    """The moves of one request by the module that they enter, all modules, and the commits."""

    moves: Counter[str] = field(default_factory=Counter)
    modules: set[str] = field(default_factory=set)
    commits: int = 0


class Profiler:
    """Counts calls in all threads that start after it, and commits of all connections."""

    def __init__(self) -> None:
        self.path = RequestPath()
        self._connect = sqlite3.connect
        sqlite3.connect = self._traced_connect  # type: ignore[assignment]

    def start(self) -> None:
        """Forget the counts, and count from now on."""
        self.path = RequestPath()
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def stop(self) -> RequestPath:
        """The counts since `start`."""
        sys.setprofile(None)
        path, self.path = self.path, RequestPath()
        return path

    def _traced_connect(self, *args: Any, **options: Any) -> sqlite3.Connection:  # noqa: ANN401 - sqlite3's
        connection: sqlite3.Connection = self._connect(*args, **options)
        connection.set_trace_callback(self._count_commit)
        return connection

    def _count_commit(self, statement: str) -> None:
        if statement == "COMMIT":
            self.path.commits += 1

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        """Count the frame if it begins; a coroutine that continues does not count."""
        if event != "call" or frame.f_lasti != _first_instruction(frame.f_code):
            return
        module = _module(frame.f_code.co_filename)
        if module is None:
            return
        self.path.modules.add(module)
        if module != _caller(frame):
            self.path.moves[module] += 1


@cache
def _first_instruction(code: CodeType) -> int:
    """The offset at which a call of the code begins."""
    return next(
        instruction.offset
        for instruction in dis.get_instructions(code)
        if instruction.opname == "RESUME" and instruction.arg == 0
    )


@cache
def _module(file_name: str) -> str | None:
    """The module of the package, as a path below it; None for any other file."""
    return file_name[len(_PACKAGE) :] if file_name.startswith(_PACKAGE) else None


def _caller(frame: FrameType) -> str | None:
    """The module of the nearest caller in the package."""
    caller = frame.f_back
    while caller is not None:
        module = _module(caller.f_code.co_filename)
        if module is not None:
            return module
        caller = caller.f_back
    return None


class Client:
    """Sends requests to an ASGI app in this process, as a server does."""

    def __init__(self, app: Any, token: str) -> None:  # noqa: ANN401 - any ASGI app
        self._app = app
        identity = {"authorization": f"Bearer {token}", "user-id": "alice"}
        self._headers = {"host": "localhost", **identity}

    async def send(self, method: str, url: str, body: bytes = b"", **headers: str) -> Response:
        """Send one request; `headers` are named with `_` for `-`."""
        path, _, query = url.partition("?")
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | self._headers
        if body:
            sent["content-length"] = str(len(body))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "client": ("127.0.0.1", 1),
            "server": ("localhost", 80),
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
        chunks = [body[at : at + _CHUNK_BYTES] for at in range(0, len(body), _CHUNK_BYTES)] or [b""]
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            chunk = chunks.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

        async def send(message: dict[str, Any]) -> None:
            messages.append(message)

        await self._app(scope, receive, send)
        start, *parts = messages
        return Response(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(part["body"] for part in parts),
        )


class Requests:
    """The requests that are counted, each as a method."""

    def __init__(self, client: Client, services: Services) -> None:
        self._client = client
        self._services = services
        image = phone_image(landscape(SCENES["At the lake"], random.Random(5)))
        self._image = image.ljust(_IMAGE_BYTES, b"\0")  # no decoder reads the bytes behind its end
        self._upload, self._post = "", ""

    async def prepare_post(self) -> None:
        """Create a ready post with the multipart request."""
        created = await self.multipart_post()
        self._post = created.headers["location"]
        await self._services.stores.posts.update(
            self._post.rpartition("/")[2], lambda post: published_post(post, _RENDERED)
        )

    async def prepare_upload(self) -> None:
        """Create an upload that lacks its last bytes."""
        upload = await self._client.send(
            "POST",
            "/uploads",
            upload_length=str(len(self._image)),
            tus_resumable="1.0.0",
            upload_metadata=f"filetype {b64encode(b'image/jpeg').decode()}",
        )
        self._upload = upload.headers["location"]
        await self._append(0, self._image[:_HALF])

    async def count(self, name: str, profiler: Profiler) -> RequestPath:
        """The path of the request that the method `name` sends, after one that warms the caches."""
        await self.prepare_post()
        for is_counted in (False, True):
            if name == "last_patch":
                await self.prepare_upload()
            if is_counted:
                profiler.start()
            response = await getattr(self, name)()
            if response.status >= _FIRST_ERROR:
                raise SystemExit(f"{name}: {response.status} {response.body.decode()}")
        return profiler.stop()

    async def multipart_post(self) -> Response:
        head = (
            b'--limit\r\nContent-Disposition: form-data; name="caption"\r\n\r\nHills\r\n'
            b'--limit\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
            b"Content-Type: image/jpeg\r\n\r\n"
        )
        content_type = "multipart/form-data; boundary=limit"
        body = head + self._image + b"\r\n--limit--\r\n"
        return await self._client.send("POST", "/posts", body, content_type=content_type)

    async def comment(self) -> Response:
        body, content_type = b'{"content":"Lovely!"}', "application/json"
        url = f"{self._post}/comments"
        return await self._client.send("POST", url, body, content_type=content_type)

    async def cached_page(self) -> Response:
        return await self._client.send("GET", "/posts")

    async def last_patch(self) -> Response:
        return await self._append(_HALF, self._image[_HALF:])

    async def _append(self, offset: int, body: bytes) -> Response:
        return await self._client.send(
            "PATCH",
            self._upload,
            body,
            content_type="application/offset+octet-stream",
            tus_resumable="1.0.0",
            upload_offset=str(offset),
        )


async def local_paths(profiler: Profiler) -> dict[str, RequestPath]:
    """The paths of all requests in the local edition."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_container(Settings(data_dir=Path(folder), auth="jwt")) as container:
            app = container.app()
            token = own_token(token_key(Path(folder)), "alice", seconds=600)
            requests = Requests(Client(app, token), container.services)
            names = ("multipart_post", "comment", "cached_page", "last_patch")
            return {name: await requests.count(name, profiler) for name in names}


async def aws_path(profiler: Profiler) -> RequestPath:
    """The path of a comment over DynamoDB's adapters, without quotas."""
    from image_poster.adapters.clock import SystemClock  # noqa: PLC0415 - of tests and AWS only
    from image_poster.adapters.dynamodb.comments import DynamoCommentStore  # noqa: PLC0415
    from image_poster.adapters.dynamodb.posts import DynamoPostStore  # noqa: PLC0415
    from support.dynamodb import FakeTable  # noqa: PLC0415
    from support.services import services  # noqa: PLC0415

    table, clock = FakeTable(), SystemClock()
    posts, comments = DynamoPostStore(table, clock), DynamoCommentStore(table, clock)
    container = services(posts=posts, comments=comments, clock=clock)
    put_urls = HmacPutUrlSigner(Signer(b""))
    settings = HttpSettings(DevAuthenticator(), put_urls, fast=False, loopback_only=False)
    app = create_app(container, _is_ready, settings)
    return await Requests(Client(app, "none"), container).count("comment", profiler)


async def _is_ready() -> None:
    pass


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Count the modules that requests enter.")
    parser.add_argument("--targets", action="store_true", help="list the moves by module")
    parser.add_argument("--aws", action="store_true", help="add a comment on AWS")
    options = parser.parse_args()
    profiler = Profiler()
    profiler.start()  # of the threads that the app starts
    counted = asyncio.run(local_paths(profiler))
    if options.aws:
        counted["comment (AWS)"] = asyncio.run(aws_path(profiler))
    print("| request | moves | modules | commits |\n|---|---|---|---|")
    for name, path in counted.items():
        counts = f"{path.moves.total()} | {len(path.modules)} | {path.commits}"
        print(f"| {name.replace('_', ' ')} | {counts} |")
    for name, path in counted.items() if options.targets else ():
        print(f"\n{name}: " + ", ".join(f"{of} {count}" for of, count in path.moves.most_common()))


if __name__ == "__main__":
    main()
