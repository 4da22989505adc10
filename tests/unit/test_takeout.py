"""The takeout of a user's data: whole, private, and continued after any interruption."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from image_poster.client import (
    ClientError,
    GaveUpError,
    ImagePosterClient,
    InUseError,
    Policy,
    RefusedError,
    SettingError,
    TakeoutProgress,
)
from image_poster.client.images import PartFile
from image_poster.client.takeout import TakeoutFolder
from image_poster.client.transport import Route
from support import samples

# Longer than a chunk of a cut stream, and recognised as a JPEG and a PNG.
ORIGINALS = {"01A": samples.jpeg() + bytes(5000), "01B": b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" * 300}
UPLOAD = {"put": {"url": "http://x/uploads?grant=secret"}}
LISTS: dict[str, list[dict[str, Any]]] = {
    "posts": [
        {"id": "01C", "status": "awaiting_upload", "upload": UPLOAD},
        {"id": "01B", "status": "hidden", "caption": "Zo\u00eb\x7f"},
        {"id": "01A", "status": "ready"},
    ],
    "comments": [{"id": "01D"}, {"id": "01E"}, {"id": "01F"}],
    "reports": [],
    "blocks": [{"user": "mallory"}],
    "decisions": [{"id": "01G", "appeal": None}],
}
URL = "http://x"
IN_LIST = {
    "posts": [{"id": "01C", "status": "awaiting_upload"}, *LISTS["posts"][1:]],
    "comments": LISTS["comments"],
    "reports": [],
    "blocks": LISTS["blocks"],
    "decisions": LISTS["decisions"],
}


class PartialStream(httpx.SyncByteStream):
    """A body that ends in a broken connection."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        raise httpx.ReadError("cut")


class FakeService:
    """The lists and originals of one user, in pages of two items. It breaks the connection at the
    request number `fails_at`, in the middle of an original, and from then on."""

    def __init__(self, user: str | None = "alice") -> None:
        self.user = user
        self.lists = {name: list(items) for name, items in LISTS.items()}
        self.originals = dict(ORIGINALS)
        self.deleted = set[str]()
        self.fails_at = 10**6
        self.paths: list[str] = []
        self.sent = dict.fromkeys(self.originals, 0)

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.paths.append(path)
        is_broken = len(self.paths) > self.fails_at
        if path.endswith("/original"):
            return self._original(path.split("/")[2], request, is_broken=is_broken)
        if is_broken:
            raise httpx.ReadError("cut")
        if path.startswith("/posts/"):
            is_there = path.removeprefix("/posts/") not in self.deleted
            problem = {"code": "post_not_found", "detail": "Gone."}
            return httpx.Response(200, json={}) if is_there else httpx.Response(404, json=problem)
        if path == "/me":
            return httpx.Response(200, json={"user": self.user, "name": None, "admin": False})
        return self._page(path.removeprefix("/me/"), request)

    def _page(self, name: str, request: httpx.Request) -> httpx.Response:
        assert request.url.params["limit"] == "100"
        assert (request.url.params.get("comments") == "0") == (name == "posts")
        start = int(request.url.params.get("cursor", "0"))
        items = self.lists[name]
        end = start + 2
        cursor = str(end) if end < len(items) else None
        return httpx.Response(200, json={name: items[start:end], "next": cursor})

    def _original(self, post_id: str, request: httpx.Request, *, is_broken: bool) -> httpx.Response:
        if post_id not in self.originals:
            return httpx.Response(404, json={"code": "post_not_found", "detail": "Gone."})
        content = self.originals[post_id]
        start = int(request.headers.get("range", "bytes=0-")[6:-1])
        body = content[start:]
        headers = {"content-length": str(len(body))}
        if start:
            headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        status = 206 if start else 200
        if not is_broken:
            self.sent[post_id] += len(body)
            return httpx.Response(status, headers=headers, content=body)
        half = body[: len(body) // 2]
        self.sent[post_id] += len(half)
        return httpx.Response(status, headers=headers, stream=PartialStream(half))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()
    options = {"base_url": URL, "transport": httpx.MockTransport(fake.answer)}
    monkeypatch.setattr(Route, "options", options)
    return fake


def new_client(**policy: Any) -> ImagePosterClient:
    """A client that waits for nothing."""
    at_once = Policy(jitter=lambda low, _high: low, **policy)
    return ImagePosterClient(URL, "alice", policy=at_once)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_whole(folder: Path) -> None:
    """The folder has all lists and originals, and nothing else."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {
        *(f"{name}.jsonl" for name in LISTS),
        *("takeout.json", "originals/01A.jpeg", "originals/01B.png"),
    }
    for name, items in IN_LIST.items():
        assert lines(folder / f"{name}.jsonl") == items
    assert (folder / "originals/01A.jpeg").read_bytes() == ORIGINALS["01A"]
    assert (folder / "originals/01B.png").read_bytes() == ORIGINALS["01B"]


def test_a_takeout_has_all_lists_and_originals(service: FakeService, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "takeout"
    result = new_client().takeout(folder)
    assert_whole(folder)
    assert result.folder == str(folder)
    assert (result.user, result.missing) == ("alice", [])
    counts = (result.posts, result.comments, result.reports, result.blocks, result.decisions)
    assert counts == (3, 3, 0, 1, 1)
    assert (result.originals, result.received) == (2, sum(map(len, ORIGINALS.values())))
    assert "/posts/01C/original" not in service.paths


def test_nobody_else_can_read_a_takeout(service: FakeService, tmp_path: Path) -> None:
    folder = tmp_path / "takeout"
    new_client().takeout(folder)
    assert service.paths
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*"))


def test_the_same_call_downloads_only_new_originals(service: FakeService, tmp_path: Path) -> None:
    new_client().takeout(tmp_path)
    service.paths.clear()
    service.lists["posts"].insert(0, {"id": "01Z", "status": "failed"})
    service.originals["01Z"] = b"no image at all"
    service.sent["01Z"] = 0
    result = new_client().takeout(tmp_path)
    assert [path for path in service.paths if "original" in path] == ["/posts/01Z/original"]
    assert (tmp_path / "originals" / "01Z.bin").read_bytes() == b"no image at all"
    assert (result.posts, result.originals, result.received) == (4, 3, 15)
    assert len(lines(tmp_path / "posts.jsonl")) == 4


def test_a_takeout_that_stops_at_any_request_is_continued(
    service: FakeService, tmp_path: Path
) -> None:
    new_client().takeout(tmp_path / "whole")
    requests = len(service.paths)
    for number in range(requests):
        folder = tmp_path / str(number)
        service.paths.clear()
        service.fails_at = number
        service.sent = dict.fromkeys(ORIGINALS, 0)
        with pytest.raises(GaveUpError):
            new_client(patience=0.0, first_patience=0.0).takeout(folder)
        service.fails_at = 10**6
        new_client().takeout(folder)
        assert_whole(folder)
        assert service.sent == {post_id: len(content) for post_id, content in ORIGINALS.items()}


def test_a_list_that_is_cut_leaves_that_of_the_former_run(
    service: FakeService, tmp_path: Path
) -> None:
    new_client().takeout(tmp_path)
    service.paths.clear()
    service.lists["posts"].insert(0, {"id": "01Z", "status": "ready"})
    service.fails_at = 2  # after the first page of posts
    with pytest.raises(GaveUpError):
        new_client(patience=0.0).takeout(tmp_path)
    assert lines(tmp_path / "posts.jsonl") == IN_LIST["posts"]


def test_a_post_without_its_original_is_named_and_the_others_are_there(
    service: FakeService, tmp_path: Path
) -> None:
    del service.originals["01B"]
    result = new_client().takeout(tmp_path)
    assert (result.missing, result.originals) == (["01B"], 1)
    assert [path.name for path in (tmp_path / "originals").iterdir()] == ["01A.jpeg"]


def test_a_post_that_is_deleted_during_the_takeout_is_not_missing(
    service: FakeService, tmp_path: Path
) -> None:
    del service.originals["01B"]
    service.deleted.add("01B")
    result = new_client().takeout(tmp_path)
    assert (result.missing, result.originals) == ([], 1)


def test_progress_counts_originals_and_bytes(service: FakeService, tmp_path: Path) -> None:
    states: list[TakeoutProgress] = []
    new_client().takeout(tmp_path, progress=states.append)
    assert states[0] == TakeoutProgress(0, 2, 0)
    assert states[-1] == TakeoutProgress(2, 2, sum(map(len, service.originals.values())))
    received = [state.received for state in states]
    assert received == sorted(received)


def test_a_failure_is_reported_with_the_progress(service: FakeService, tmp_path: Path) -> None:
    states: list[TakeoutProgress] = []
    service.fails_at = 8  # in the first original
    clock = partial(next, count())
    with pytest.raises(GaveUpError):
        new_client(patience=3, now=clock).takeout(tmp_path, progress=states.append)
    troubles = [state for state in states if state.trouble]
    assert {state.trouble for state in troubles} == {"the connection to http://x broke"}
    assert troubles[0].received == len(ORIGINALS["01B"]) // 2
    assert {(state.originals, state.total) for state in troubles} == {(0, 2)}


@pytest.mark.parametrize("name", ["notes.txt", "posts.jsonl", "originals"])
def test_a_folder_with_other_content_is_refused_before_any_request(
    service: FakeService, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("a stranger's")
    with pytest.raises(SettingError, match=r"not empty, and is no takeout.*Name an empty"):
        new_client().takeout(tmp_path)
    assert service.paths == []
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_empty_folder_of_a_file_system_is_accepted(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "takeout.json.part").write_text("{")
    assert new_client().takeout(tmp_path).posts == len(service.lists["posts"])


def test_the_takeout_of_another_user_is_refused(service: FakeService, tmp_path: Path) -> None:
    new_client().takeout(tmp_path)
    service.user = "bob"
    sentence = "has the takeout of alice, and you are bob. Continue it as alice, or name another"
    with pytest.raises(SettingError, match=sentence):
        new_client().takeout(tmp_path)
    assert_whole(tmp_path)


def test_the_takeout_from_another_service_is_refused_before_any_request(
    service: FakeService, tmp_path: Path
) -> None:
    new_client().takeout(tmp_path)
    service.paths.clear()
    with pytest.raises(SettingError, match="Continue it with --url http://x, or name another"):
        ImagePosterClient("http://y", "alice").takeout(tmp_path)
    assert service.paths == []


def test_the_address_of_a_service_may_end_with_a_slash(
    service: FakeService, tmp_path: Path
) -> None:
    new_client().takeout(tmp_path)
    service.paths.clear()
    assert ImagePosterClient(f"{URL}/", "alice").takeout(tmp_path).received == 0


def test_a_crash_before_the_mark_leaves_a_folder_that_is_accepted(
    service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_part: PartFile, target: Path) -> None:
        raise KeyboardInterrupt(target.name)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=r"takeout\.json"):
        patch.setattr(PartFile, "commit", crash)
        new_client().takeout(tmp_path)
    new_client().takeout(tmp_path)
    assert service.paths.count("/me") == 2
    assert_whole(tmp_path)


def test_two_takeouts_into_one_folder_do_not_mix(service: FakeService, tmp_path: Path) -> None:
    folder = TakeoutFolder(tmp_path, URL)
    with folder.open("alice"), pytest.raises(InUseError, match="is using this folder"):
        new_client().takeout(tmp_path)
    assert service.paths == ["/me"]
    new_client().takeout(tmp_path)
    assert_whole(tmp_path)


def test_an_anonymous_caller_has_no_data(service: FakeService, tmp_path: Path) -> None:
    service.user = None
    with pytest.raises(RefusedError, match="identity_required"):
        new_client().takeout(tmp_path / "takeout")
    assert not (tmp_path / "takeout").exists()


@pytest.mark.parametrize(
    "post",
    [
        {"id": "../../evil", "status": "ready"},
        {"id": "a/b", "status": "ready"},
        {"id": 7, "status": "ready"},
        {"status": "ready"},
        "no object",
    ],
)
def test_an_id_that_is_no_file_name_writes_nothing(
    service: FakeService, tmp_path: Path, post: Any
) -> None:
    service.lists["posts"] = [post]
    with pytest.raises(GaveUpError, match="does not answer as image-poster-api does"):
        new_client().takeout(tmp_path / "takeout")
    assert [path.name for path in tmp_path.iterdir()] == ["takeout"]


def test_a_file_in_place_of_the_folder_is_told(service: FakeService, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a stranger's")
    with pytest.raises(ClientError, match="cannot be written: Not a directory"):
        new_client().takeout(tmp_path / "file")
    assert service.paths == []
