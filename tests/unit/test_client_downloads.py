"""Downloads continue after any failure, and write each byte once."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from image_poster.client import (
    AsyncImagePosterClient,
    GaveUpError,
    ImagePosterClient,
    ImageResult,
    Policy,
    PostResult,
    Progress,
    RefusedError,
    RenditionResult,
    SettingError,
)
from image_poster.client.images import FileDownload, open_part
from image_poster.client.retries import Steps
from image_poster.client.transport import Route

CONTENT = bytes(range(256)) * 40
SIGNED = "https://store.example/originals/01P?signature=secret"
AT_ONCE = Policy(jitter=lambda low, _high: low)
RENDITION = RenditionResult("/images/01P/1600.jpg", 1, 1)
POST = PostResult(
    id="01P",
    status="ready",
    caption="",
    alt="",
    creator="alice",
    created_at="",
    edited_at=None,
    image=ImageResult("/images/01P/600.jpg", 1, 1, RENDITION, ""),
    total_comments=0,
    latest_comments=[],
)


class CutStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that ends in a broken connection after `size` bytes; None: it is whole."""

    def __init__(self, body: bytes, size: int | None) -> None:
        self._body = body
        self._size = size

    def __iter__(self) -> Iterator[bytes]:
        sent = self._body[: self._size]
        for start in range(0, len(sent), 1000):
            yield sent[start : start + 1000]
        if self._size is not None and self._size < len(self._body):
            raise httpx.ReadError("cut")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


class FileService:
    """A service with one file, whose connections break after so many bytes each. Without `ranges`,
    it ignores the header Range, as some proxies do."""

    def __init__(self, *cuts: int | None, ranges: bool = True) -> None:
        self._cuts = iter(cuts)
        self._ranges = ranges
        self.requests: list[httpx.Request] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        start = self.start_of(request) if self._ranges else 0
        if start >= len(CONTENT):
            return httpx.Response(416, json={"code": "range_not_satisfiable", "detail": "No."})
        body = CONTENT[start:]
        headers = {"content-length": str(len(body)), "content-type": "image/jpeg"}
        if start:
            headers["content-range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        stream = CutStream(body, next(self._cuts, None))
        return httpx.Response(206 if start else 200, headers=headers, stream=stream)

    @staticmethod
    def start_of(request: httpx.Request) -> int:
        """The first byte that a request asks for."""
        return int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))

    def starts(self) -> list[int]:
        """The first byte of each request."""
        return list(map(self.start_of, self.requests))


@pytest.fixture
def connect(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[httpx.Request], httpx.Response]], ImagePosterClient]:
    """A function that makes a client whose requests go to a handler."""

    def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> ImagePosterClient:
        options = {"base_url": "http://x", "transport": httpx.MockTransport(answer)}
        monkeypatch.setattr(Route, "options", options)
        return ImagePosterClient("http://x", "alice", policy=AT_ONCE)

    return client_of


Connect = Callable[[Callable[[httpx.Request], httpx.Response]], ImagePosterClient]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("cuts", [(), (0,), (1, 2500, 0, 3999), (10_239,)])
def test_each_byte_is_written_once_whatever_breaks(
    connect: Connect, cuts: tuple[int, ...], *, ranges: bool
) -> None:
    service, target = FileService(*cuts, ranges=ranges), io.BytesIO()
    assert connect(service.answer).download_original("01P", target) == len(CONTENT)
    assert target.getvalue() == CONTENT
    assert {request.url.path for request in service.requests} == {"/posts/01P/original"}
    assert service.requests[0].headers["user-id"] == "alice"
    if ranges:
        continued = sum(cuts[:2])
        assert service.starts()[:3] == [0, *cuts[:1], continued][: len(service.requests)]


def test_the_asynchronous_client_downloads_too(connect: Connect) -> None:
    service, target = FileService(2500), io.BytesIO()
    connect(service.answer)

    async def download() -> int:
        async with AsyncImagePosterClient("http://x", "alice", policy=AT_ONCE) as client:
            return await client.download_original("01P", target)

    assert asyncio.run(download()) == len(CONTENT)
    assert target.getvalue() == CONTENT
    assert service.starts() == [0, 2500]


def test_progress_and_failures_are_reported(connect: Connect) -> None:
    states: list[Progress] = []
    connect(FileService(2500).answer).download_original("01P", io.BytesIO(), progress=states.append)
    sent = [state.sent for state in states]
    assert sent == sorted(sent)
    assert {state.total for state in states} == {len(CONTENT)}
    assert [state.trouble for state in states if state.trouble] == [
        "the connection to http://x broke"
    ]


def test_a_signed_url_gets_no_identity_and_a_new_one_when_it_is_refused(connect: Connect) -> None:
    service, signed = FileService(2500), 0
    requests: list[tuple[str, str | None]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal signed
        requests.append((request.url.host, request.headers.get("user-id")))
        if request.url.host == "x":
            signed += 1
            return httpx.Response(302, headers={"location": f"{SIGNED}{signed}"})
        assert "authorization" not in request.headers
        if request.url.params["signature"] == "secret2":
            return httpx.Response(403, text="<Error><Code>AccessDenied</Code></Error>")
        return service.answer(request)

    target = io.BytesIO()
    connect(answer).download_original("01P", target)
    assert target.getvalue() == CONTENT
    assert requests == [("x", "alice"), ("store.example", None)] * 3
    assert service.starts() == [0, 2500]


@pytest.mark.parametrize("location", ["", "/elsewhere", "file:///etc/passwd"])
def test_a_redirect_to_no_web_address_is_not_followed(connect: Connect, location: str) -> None:
    redirect = httpx.Response(302, headers={"location": location})
    with pytest.raises(GaveUpError, match="does not answer as image-poster-api does"):
        connect(lambda _: redirect).download_original("01P", io.BytesIO())


def test_a_refusal_is_told(connect: Connect) -> None:
    problem = {"code": "not_yours", "detail": "This belongs to another user."}
    with pytest.raises(RefusedError, match=r"belongs to another user\. \(not_yours\)"):
        connect(lambda _: httpx.Response(403, json=problem)).download_original("01P", io.BytesIO())


def test_a_range_that_begins_too_late_is_refused(connect: Connect) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "range" not in request.headers:
            stream = CutStream(CONTENT, 100)
            return httpx.Response(200, headers={"content-length": "10240"}, stream=stream)
        return httpx.Response(206, headers={"content-range": "bytes 200-10239/10240"}, content=b"x")

    with pytest.raises(GaveUpError, match="does not answer as image-poster-api does"):
        connect(answer).download_original("01P", io.BytesIO())


def run(client: ImagePosterClient, steps: Steps[int]) -> int:
    return client.run(steps)


@pytest.mark.parametrize("size", [0, 1, 5000, len(CONTENT)])
def test_a_part_of_a_former_run_is_completed(connect: Connect, tmp_path: Path, size: int) -> None:
    path = tmp_path / "01P.part"
    path.write_bytes(CONTENT[:size])
    client = connect(FileService().answer)
    with open_part(path, resume=True) as part:
        download = FileDownload("/posts/01P/original", part.write, AT_ONCE, offset=part.size)
        assert run(client, download.steps()) == len(CONTENT)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("with_length", [True, False])
def test_a_part_with_more_bytes_than_the_image_is_refused(
    connect: Connect, tmp_path: Path, *, with_length: bool
) -> None:
    service = FileService()

    def answer(request: httpx.Request) -> httpx.Response:
        response = service.answer(request)
        if not with_length:
            response.headers.pop("content-length", None)
        return response

    path = tmp_path / "01P.part"
    path.write_bytes(CONTENT + b"?")
    client = connect(answer)
    with open_part(path, resume=True) as part:
        download = FileDownload("/posts/01P/original", part.write, AT_ONCE, offset=part.size)
        with pytest.raises(GaveUpError, match="more bytes than the image"):
            run(client, download.steps())


def test_a_file_has_its_name_only_when_it_is_whole(connect: Connect, tmp_path: Path) -> None:
    target = tmp_path / "photo.jpg"
    part = tmp_path / "photo.jpg.part"

    def answer(request: httpx.Request) -> httpx.Response:
        if "range" in request.headers:
            assert part.stat().st_size == 2500
            assert not target.exists()
        return service.answer(request)

    part.write_bytes(b"of another image")
    service = FileService(2500)
    connect(answer).download_original("01P", target)
    assert target.read_bytes() == CONTENT
    assert target.stat().st_mode & 0o777 == 0o600
    assert not part.exists()


def test_a_part_that_is_a_symbolic_link_is_not_written_to(connect: Connect, tmp_path: Path) -> None:
    victim, part = tmp_path / "victim", tmp_path / "photo.jpg.part"
    victim.write_text("precious")
    part.symlink_to(victim)
    with pytest.raises(SettingError, match="cannot be written"), open_part(part, resume=True):
        pass
    connect(FileService().answer).download_original("01P", tmp_path / "photo.jpg")
    assert (tmp_path / "photo.jpg").read_bytes() == CONTENT
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("prefix", ["", "/me", "/moderation"])
@pytest.mark.parametrize("origin", ["", "https://photos.example.org/api"])
def test_a_rendition_is_fetched_with_identity_and_from_this_service_only(
    connect: Connect, prefix: str, origin: str
) -> None:
    urls = [f"{origin}{prefix}/images/01P/{name}.jpg" for name in ("600", "1600")]
    image = ImageResult(urls[0], 1, 1, RenditionResult(urls[1], 1, 1), "")
    post = msgspec.structs.replace(POST, image=image)
    service = FileService()
    client = connect(service.answer)
    for large in (False, True):
        client.download_rendition(post, io.BytesIO(), large=large)
    paths = [str(request.url) for request in service.requests]
    assert paths == [f"http://x{prefix}/images/01P/{name}.jpg" for name in ("600", "1600")]
    assert all(request.headers["user-id"] == "alice" for request in service.requests)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"image": None}, RefusedError),
        ({"image": ImageResult("", 1, 1, RenditionResult("/posts/01P", 1, 1), "")}, GaveUpError),
    ],
)
def test_a_post_without_a_rendition_sends_nothing(
    connect: Connect, changes: dict[str, Any], error: type[Exception]
) -> None:
    post = msgspec.structs.replace(POST, **changes)
    client = connect(lambda _: pytest.fail("a request was sent"))
    with pytest.raises(error):
        client.download_rendition(post, io.BytesIO())
