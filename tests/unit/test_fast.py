"""The fast path answers as Litestar does, byte for byte, and is really asked first."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar.types import ASGIApp

from contract.ports.suite import a_comment, a_post
from fakes.clock import ManualClock
from image_poster.adapters.files.images import FileImageStore
from image_poster.adapters.files.schema import Layout
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.feed import SqliteFeedReader
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.posts import published_post
from image_poster.domain.signing import Signer
from image_poster.http.addresses import TrustedProxies, networks
from image_poster.http.app import HttpSettings, create_app, fast_routes
from image_poster.http.auth import DevAuthenticator
from image_poster.http.encoding import Cors
from image_poster.http.feed_pages import FeedPages
from image_poster.http.middleware import Middleware
from image_poster.http.uploads import HmacPutUrlSigner
from image_poster.services import Services
from support.renderer import RENDERED
from support.services import services

Check = Callable[[str, str, dict[str, str]], None]
CREATORS = ("alice", "bob")


async def ready() -> None:
    """The database answers."""


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Services]:
    """The services over what is in this folder."""
    database, clock = Database(folder / "test.db"), ManualClock()
    yield services(
        posts=SqlitePostStore(database, clock),
        comments=SqliteCommentStore(database, clock),
        feed=SqliteFeedReader(database),
        images=FileImageStore(Layout(folder)),
        clock=clock,
    )
    await database.close()


async def fill(folder: Path) -> None:
    """A dozen posts with comments, each with a small and a large rendition; one is not ready."""
    async with opened(folder) as container:
        stores = container.stores
        for number in range(12):
            post = a_post(CREATORS[number % 2])
            await stores.posts.add(post)
            staged = stores.images.stage(post.id)
            await staged.write(b"original")
            await staged.commit()
            async with stores.images.workspace(post.id) as work:
                (work.folder / "600.jpg").write_bytes(bytes([number]) * 1000)
                (work.folder / "1600.jpg").write_bytes(bytes([number]) * 300_000)
                await stores.images.publish(post.id, work)
            if number < 11:
                await stores.posts.update(
                    post.id, lambda current: published_post(current, RENDERED)
                )
                for _ in range(number % 4):
                    await stores.comments.add(a_comment(post.id, content='"1 < 2" \N{SNOWMAN}\n'))


def http_settings(*, fast: bool = True) -> HttpSettings:
    """Settings that trust a proxy at the address of httpx's requests."""
    return HttpSettings(
        DevAuthenticator(frozenset()),
        HmacPutUrlSigner(Signer(b"")),
        fast=fast,
        file_senders=TrustedProxies(networks(("127.0.0.1",))),
    )


def app(container: Services, *, fast: bool) -> ASGIApp:
    return create_app(container, ready, http_settings(fast=fast))


async def send(
    app: ASGIApp, request: httpx.Request, peer: str = "127.0.0.1"
) -> tuple[int, list[tuple[str, str]], bytes]:
    transport = httpx.ASGITransport(app, client=(peer, 123))  # type: ignore[arg-type]
    answer = await transport.handle_async_request(request)
    headers = sorted((name.lower(), value) for name, value in answer.headers.items())
    return answer.status_code, headers, await answer.aread()


VALUES = {
    "limit": ["1", "3", "100", "0", "101", "03", "ten", "", "1e1", "+1", " 1", "%D9%A3"],
    "sort": ["top", "new", "best", "TOP", ""],
    "creator": ["alice", "bob", "al%69ce", "a+b", "", "%ff", "%C3%A9", "a;b"],
    "comments": ["0", "2", "10", "11", "-1", "1.0"],
    "cursor": ["NEXT", "x", "", "%20", "NEXT%3D"],
    "status": ["unfinished"],
    "from": ["mallory"],
}
QUERIES = st.lists(
    st.sampled_from([(name, value) for name, values in VALUES.items() for value in values]),
    max_size=4,
)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            *("if-none-match", "range", "if-range", "origin", "accept-encoding", "accept"),
            "x-forwarded-for",
        ]
    ),
    st.sampled_from(
        ["ETAG", "*", '"other"', "bytes=0-9", "bytes=999999-", "gzip, br", "text/html"]
    ),
    max_size=2,
)
PATHS = st.sampled_from(
    [
        *("/posts", "/posts", "/posts", "/posts/", "/images/ID/600.jpg", "/images/ID/1600.jpg"),
        *("/images/UNREADY/600.jpg", "/images/x/600.jpg", "/images/ID/700.jpg"),
    ]
)


class Compared:
    """Both apps over one store, and the values that replace the placeholders in requests."""

    def __init__(self, container: Services) -> None:
        self.fast, self.slow = app(container, fast=True), app(container, fast=False)
        self.names: dict[str, str] = {}

    async def learn(self) -> None:
        page = await send(self.slow, httpx.Request("GET", "http://localhost/posts?limit=2"))
        body: Any = httpx.Response(200, content=page[2]).json()
        self.names = {"UNREADY": a_post().id, "ID": body["posts"][0]["id"], "NEXT": body["next"]}
        self.names["ETAG"] = dict(page[1])["etag"]

    def named(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(name, value)
        return text

    async def check(self, method: str, target: str, headers: dict[str, str]) -> None:
        sent = {name: self.named(value) for name, value in headers.items()}
        sent["x-request-id"] = "test"
        url = httpx.URL("http://localhost", raw_path=self.named(target).encode())
        make = partial(httpx.Request, method, url, headers=sent)
        assert await send(self.fast, make()) == await send(self.slow, make())


@pytest.fixture(scope="module")
def posts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("posts")
    asyncio.run(fill(folder))
    return folder


@pytest.fixture(scope="module")
def check(posts_folder: Path) -> Iterator[Check]:
    """Sends a request to both."""
    with asyncio.Runner() as runner:
        opening = opened(posts_folder)
        compared = Compared(runner.run(opening.__aenter__()))
        runner.run(compared.learn())
        yield lambda *request: runner.run(compared.check(*request))
        runner.run(opening.__aexit__(None, None, None))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"]), PATHS, QUERIES, HEADERS)
def test_whatever_is_asked_both_answer_the_same(
    check: Check, method: str, path: str, query: list[tuple[str, str]], headers: dict[str, str]
) -> None:
    pairs = "&".join(f"{name}={value}" for name, value in query)
    check(method, f"{path}?{pairs}" if pairs else path, headers)


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "litestar"])
@pytest.mark.parametrize("name", ["600", "1600"])
def test_only_a_trusted_proxy_is_told_where_a_file_is(
    posts_folder: Path, name: str, *, fast: bool
) -> None:
    forwarded = {"x-forwarded-for": "203.0.113.5"}

    async def ask() -> None:
        async with opened(posts_folder) as container:
            compared = Compared(container)
            await compared.learn()
            asked_app = app(container, fast=fast)
            url = f"http://localhost{compared.named(f'/images/ID/{name}.jpg')}"

            async def answer(peer: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
                request = httpx.Request("GET", url, headers=headers)
                status, sent, body = await send(asked_app, request, peer)
                return status, dict(sent), body

            status, headers, body = await answer("127.0.0.1", **forwarded)
            whole = await answer("127.0.0.1")
            place = f"/renditions/{compared.names['ID'][-2:]}/{compared.names['ID']}.{name}.jpg"
            assert (status, body, headers["x-accel-redirect"]) == (200, b"", place)
            assert headers["content-length"] == "0"
            names = ("etag", "cache-control", "accept-ranges", "content-type")
            assert [headers[name] for name in names] == [whole[1][name] for name in names]
            # No other peer is told the place, whatever headers it sends. Answers without a file are
            # sent by the service itself.
            forged = {**forwarded, "x-accel-redirect": place, "x-sendfile-type": "x"}
            for peer, sent in (("127.0.0.1", {}), ("203.0.113.5", forged), ("", forged)):
                status, headers, body = await answer(peer, **sent)
                assert (status, body) == (200, whole[2])
                assert "x-accel-redirect" not in headers
            known = {**forwarded, "if-none-match": headers["etag"]}
            assert (await answer("127.0.0.1", **known))[0] == 304
            behind = {**forwarded, "range": "bytes=999999-"}
            assert (await answer("127.0.0.1", **behind))[0] == 416

    asyncio.run(ask())


def test_what_is_usual_never_reaches_litestar(posts_folder: Path) -> None:
    async def never(*_: object) -> None:
        raise AssertionError("Litestar was asked")

    async def ask() -> None:
        async with opened(posts_folder) as container:
            compared = Compared(container)
            await compared.learn()
            pages = FeedPages(container.feed)
            routes = fast_routes(container, pages, http_settings())
            app = Middleware(
                never, loopback_only=True, observers=(), cors=Cors(()), fast_routes=routes
            )
            for target in ("/posts", "/posts?cursor=NEXT&limit=2", "/images/ID/600.jpg"):
                url = f"http://localhost{compared.named(target)}"
                status, headers, body = await send(app, httpx.Request("GET", url))
                assert status == 200
                assert ("content-length", str(len(body))) in headers

    asyncio.run(ask())
