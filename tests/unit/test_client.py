"""The client's rules one by one; `property/test_client_uploads.py` has them all together."""

import asyncio
import io
import os
import time
from base64 import urlsafe_b64encode
from email.utils import formatdate
from functools import partial
from pathlib import Path

import httpx
import pytest

from image_poster.client import (
    AsyncImagePosterClient,
    Feed,
    GaveUpError,
    ImagePosterClient,
    InUseError,
    RefusedError,
    SettingError,
)
from image_poster.client.client import ClientCalls
from image_poster.client.journal import (
    ENTRY_SECONDS,
    RequestJournal,
    ResumeState,
    UploadIdentity,
    UploadStateStore,
    sha256_of,
)
from image_poster.client.retries import (
    ConnectionFailure,
    Outcome,
    Pause,
    Policy,
    Reply,
    Retries,
    Send,
    failure_reason,
    refusal,
)
from image_poster.client.transport import Credentials, Route, base_url, environment_proxy
from image_poster.client.uploading import (
    FileSource,
    ImageUpload,
    StreamSource,
    UploadTexts,
    is_late,
    open_source,
)

CUT, DOWN = ConnectionFailure("broken"), ConnectionFailure("refused", reached=False)


class Clock:
    """Time passes in pauses only."""

    def __init__(self) -> None:
        self.now = 100.0

    def policy(self, jitter: float = 1.0) -> Policy:
        return Policy(now=lambda: self.now, jitter=lambda low, high: low + jitter * (high - low))


@pytest.mark.parametrize("content", [b'{"x":' + b"[" * 100_000, b'{"detail": "\xff"}', b"<html>"])
def test_an_answer_that_is_no_json_of_ours_is_told(content: bytes) -> None:
    assert failure_reason(Reply(500, {}, content)) == "the service failed (500)"
    steps = ClientCalls.show(ClientCalls("http://x"), "01K")
    next(steps)
    with pytest.raises(GaveUpError, match="does not answer as image-poster-api does"):
        steps.send(Reply(200, {}, content))


def pauses(clock: Clock, retries: Retries, *outcomes: Outcome) -> list[float]:
    """The waits in seconds after each outcome of one request, which then succeeds."""
    waits: list[float] = []
    replies = iter([*outcomes, Reply(200, {}, b"")])
    steps = retries.exchange(Send("GET", "/"))
    answer: object = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return waits
        if isinstance(step, Pause):
            waits.append(step.seconds)
            clock.now += step.seconds
            answer = None
        else:
            answer = next(replies)


def silent(_reason: str, _wait: float) -> None: ...


def test_waits_double_up_to_a_cap() -> None:
    clock = Clock()
    waits = pauses(clock, Retries(clock.policy(), silent), Reply(503, {}, b""), *[CUT] * 7)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]


def test_jitter_is_full() -> None:
    clock = Clock()
    assert pauses(clock, Retries(clock.policy(0.0), silent), CUT, CUT) == [0.0, 0.0]
    retries = Retries(Policy(), silent)
    drawn = [pauses(clock, retries, Reply(503, {}, b""))[0] for _ in range(20)]
    assert len(set(drawn)) == 20
    assert all(0 <= wait <= 20 for wait in drawn)


def wait_when_told(header: str) -> float:
    clock = Clock()
    busy = Reply(503, {"retry-after": header}, b"")
    (wait,) = pauses(clock, Retries(clock.policy(), silent), busy)
    return wait


def test_retry_after_is_heeded_in_seconds_and_as_a_date() -> None:
    """And a random while more, since many are told the same."""
    assert wait_when_told("7") == 7.5
    in_a_minute = formatdate(time.time() + 60, usegmt=True)
    assert 30 < wait_when_told(in_a_minute) <= 60.5


def test_a_retry_after_date_is_read_by_the_services_clock() -> None:
    """Here the clock is a year behind, or ahead."""
    for ahead in (-365 * 86_400, 365 * 86_400):
        sent, until = (formatdate(time.time() + ahead + more, usegmt=True) for more in (0, 60))
        clock, headers = Clock(), {"date": sent, "retry-after": until}
        (wait,) = pauses(clock, Retries(clock.policy(), silent), Reply(503, headers, b""))
        assert wait == 60.5


@pytest.mark.parametrize("header", ["soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_without_sense_is_not(header: str) -> None:
    assert wait_when_told(header) == 0.5


def test_patience_ends_and_progress_renews_it() -> None:
    clock = Clock()
    retries = Retries(clock.policy(), silent)
    with pytest.raises(GaveUpError, match="broken; gave up after"):
        pauses(clock, retries, Reply(503, {}, b""), *[CUT] * 100)
    assert clock.now == pytest.approx(100 + 111.5)
    retries.record_progress()
    assert pauses(clock, retries, *[CUT] * 5) == [0.0, 0.015625, 0.03125, 0.0625, 0.125]
    retries.record_progress()
    assert pauses(clock, retries, CUT, DOWN, DOWN) == [0.0, 0.5, 1.0]
    retries.record_progress()
    assert pauses(clock, retries, Reply(503, {"retry-after": "2"}, b"")) == [2.5]


def test_what_will_not_pass_is_not_asked_again() -> None:
    clock = Clock()
    with pytest.raises(GaveUpError, match="not trusted"):
        pauses(
            clock, Retries(clock.policy(), silent), ConnectionFailure("not trusted", permanent=True)
        )
    assert clock.now == 100


def test_who_never_answered_is_waited_for_less() -> None:
    clock = Clock()
    with pytest.raises(GaveUpError):
        pauses(clock, Retries(clock.policy(), silent), *[CUT] * 100)
    assert clock.now < 100 + 30


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 415, 422])
def test_a_refusal_is_not_asked_again(status: int) -> None:
    steps = Retries(Policy(), silent).exchange(Send("GET", "/"))
    next(steps)
    with pytest.raises(StopIteration):
        steps.send(Reply(status, {}, b'{"code":"validation_failed","detail":"No."}'))


@pytest.mark.parametrize("code", ["request_in_progress", "upload_taken_over"])
def test_a_passing_conflict_is_asked_again(code: str) -> None:
    clock = Clock()
    conflict = Reply(409, {}, b'{"code":"%b","detail":"Later."}' % code.encode())
    assert len(pauses(clock, Retries(clock.policy(), silent), conflict)) == 1


def test_a_stream_is_held_as_long_as_it_may_be_asked_for() -> None:
    source = StreamSource(io.BytesIO(b"0123456789"), "-")
    assert source.read(0, 6) == b"012345"
    assert source.read(2, 6) == b"234567"
    assert source.read(8, 6) == b"89"
    assert source.read(10, 6) == b""
    with pytest.raises(GaveUpError, match="cannot be read again"):
        source.read(0, 1)


def test_pipes_are_read_to_their_end() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    os.write(writer, b"def")
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as pipe, open_source(pipe) as source:
        assert source.size is None
        assert source.read(0, 100) == b"abcdef"


def identity(path: Path, copy: int = 0) -> UploadIdentity:
    return UploadIdentity("http://x", "alice", sha256_of(path), "", "", copy)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"bytes")
    return path


def test_a_record_outlives_its_process(tmp_path: Path, photo: Path) -> None:
    journal = RequestJournal(tmp_path / "state")
    with journal.open_entry(identity(photo)) as entry:
        fresh = entry.state
        entry.save(ResumeState(fresh.key, "/uploads/somewhere/far", complete=True))
        entry.save(ResumeState(fresh.key, "/uploads/1"))
    with RequestJournal(tmp_path / "state").open_entry(identity(photo)) as entry:
        assert entry.state == ResumeState(fresh.key, "/uploads/1")
        entry.remove()
    with journal.open_entry(identity(photo)) as entry:
        assert entry.state.key != fresh.key


def test_other_files_in_the_state_folder_stay_however_old(tmp_path: Path, photo: Path) -> None:
    state = tmp_path / "state"
    (state / "folder").mkdir(parents=True)
    (state / "notes").write_text("a stranger's")
    for path in state.iterdir():
        os.utime(path, (0, 0))
    with RequestJournal(state).open_entry(identity(photo)):
        pass
    assert (state / "notes").read_text() == "a stranger's"


def test_another_image_service_text_or_copy_is_another_record(tmp_path: Path, photo: Path) -> None:
    journal, upload_identity = RequestJournal(tmp_path / "state"), identity(photo)
    changes = [{"service": "http://y"}, {"user": "bob"}, {"caption": "x"}, {"copy": 1}]
    others = [upload_identity, *(upload_identity._replace(**change) for change in changes)]  # type: ignore[arg-type]
    keys = set()
    for other in others:
        with journal.open_entry(other) as entry:
            keys.add(entry.state.key)
            entry.save(entry.state)
    assert len(keys) == len(others)


def test_two_at_once_are_told_so(tmp_path: Path, photo: Path) -> None:
    journal = RequestJournal(tmp_path / "state")
    with journal.open_entry(identity(photo)), pytest.raises(InUseError):
        journal.open_entry(identity(photo)).__enter__()


def test_a_damaged_or_old_record_is_no_record(tmp_path: Path, photo: Path) -> None:
    folder = tmp_path / "state"
    with RequestJournal(folder).open_entry(identity(photo)) as entry:
        entry.save(ResumeState("old.0", "/uploads/1"))
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    with RequestJournal(folder).open_entry(identity(photo)) as entry:
        assert entry.state.location == ""
    path.write_bytes(content)
    old = time.time() - ENTRY_SECONDS - 1
    os.utime(path, (old, old))
    with RequestJournal(folder).open_entry(identity(photo)) as entry:
        assert entry.state.location == ""


def test_a_record_of_another_user_in_a_shared_folder_stays(tmp_path: Path, photo: Path) -> None:
    """Its removal is refused as by the sticky bit; and another process may remove it meanwhile."""
    folder = tmp_path / "state"
    (folder / "a folder").mkdir(parents=True)
    (folder / "nowhere").symlink_to(tmp_path / "missing")
    os.utime(folder / "a folder", (0, 0))
    with RequestJournal(folder).open_entry(identity(photo)) as entry:
        entry.save(entry.state)
    assert (folder / "a folder").is_dir()


def test_a_record_that_is_a_symbolic_link_is_not_written_to(tmp_path: Path, photo: Path) -> None:
    folder, victim = tmp_path / "state", tmp_path / "victim"
    with RequestJournal(folder).open_entry(identity(photo)) as entry:
        entry.save(entry.state)
    (path,) = folder.iterdir()
    victim.write_text("precious")
    path.unlink()
    path.symlink_to(victim)
    with pytest.raises(SettingError, match="cannot be used"):
        RequestJournal(folder).open_entry(identity(photo)).__enter__()
    assert victim.read_text() == "precious"


def test_a_damaged_record_counts_as_sent_too_long_ago(tmp_path: Path, photo: Path) -> None:
    folder = tmp_path / "state"
    with RequestJournal(folder).open_entry(identity(photo)) as entry:
        entry.save(ResumeState("key", since=time.time()))
    (path,) = folder.iterdir()
    for content in (path.read_bytes()[:-3], b"\xff", b"[]"):
        path.write_bytes(content)
        with RequestJournal(folder).open_entry(identity(photo)) as entry:
            assert is_late(entry.state, time.time())
            assert entry.state.key != "key"


def test_a_file_that_changes_while_it_is_sent_is_told(photo: Path) -> None:
    with open_source(photo) as source:
        assert source.read(0, 3) == b"byt"
        photo.write_bytes(b"other bytes")
        with pytest.raises(GaveUpError, match="has changed while it was being sent"):
            source.read(3, 2)


def test_a_file_that_vanishes_while_it_is_sent_is_sent_whole(photo: Path) -> None:
    with open_source(photo) as source:
        photo.unlink()
        assert source.read(0, 5) == b"bytes"


def test_an_empty_image_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    journal, empty = RequestJournal(tmp_path / "state"), tmp_path / "empty.jpg"
    client = ImagePosterClient("http://127.0.0.1:1", "alice", journal=journal)
    empty.touch()
    reader, writer = os.pipe()
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        for image in (empty, pipe, io.BytesIO()):
            with pytest.raises(RefusedError, match="The image is empty"):
                client.post(image)


@pytest.mark.parametrize(
    ("service", "exceptions", "exempt"),
    [
        ("http://[::1]:8080", "[::1]", True),
        ("http://[::1]:8080", "::1", True),
        ("http://[::1]", "localhost,[::1]:8080", True),
        ("http://[fe80::1]", "fe80::/10", True),
        ("http://127.0.0.1", "127.0.0.0/8", True),
        ("http://10.1.2.3", "10.0.0.0/16", False),
        ("http://photos.example.org", "example.org", True),
        ("http://photos.example.org", " .Example.ORG:80 ", True),
        ("http://photos.example.org", "*.example.org", True),
        ("http://badexample.org", "example.org", False),
        ("https://photos.example.org", "https://photos.example.org", True),
        ("http://photos.example.org", "*", True),
        ("http://photos.example.org", ",[,]:,", False),
        ("http://photos.example.org", "", False),
    ],
)
def test_exceptions_from_the_proxy(
    monkeypatch: pytest.MonkeyPatch, service: str, exceptions: str, *, exempt: bool
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("all_proxy", "user:secret@proxy.example:3128")
    monkeypatch.setenv("no_proxy", exceptions)
    proxy = environment_proxy(httpx.URL(service))
    shown = None if proxy is None else str(proxy)
    assert shown == (None if exempt else "the proxy http://proxy.example:3128 (all_proxy)")


def test_both_clients_repeat_a_request_once_with_a_new_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each calls its token function in its own way: the asynchronous one in a thread."""
    requests: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(f"{request.method} {request.url} {request.headers['authorization']}")
        if request.headers["authorization"] != "Bearer third":
            return httpx.Response(401)
        return httpx.Response(200, json={"posts": [], "next": None})

    async def read_feed() -> Feed:
        async with AsyncImagePosterClient("http://x", token=partial(next, tokens)) as client:
            with pytest.raises(RefusedError):
                await client.feed(limit=1)
            return await client.feed(limit=1)

    options = {"base_url": "http://x", "transport": httpx.MockTransport(answer)}
    monkeypatch.setattr(Route, "options", options)
    tokens = iter(["first", "second", "third"])
    with ImagePosterClient("http://x", token=partial(next, tokens)) as blocking:
        with pytest.raises(RefusedError):
            blocking.feed(limit=1)
        assert blocking.feed(limit=1) == Feed([], None)
    expected = [
        f"GET http://x/posts?sort=top&limit=1 Bearer {token}"
        for token in ("first", "second", "second", "third")
    ]
    assert requests == expected
    requests.clear()
    tokens = iter(["first", "second", "third"])
    assert asyncio.run(read_feed()) == Feed([], None)
    assert requests == expected


@pytest.mark.parametrize(
    "url", ["", "photo.jpg", "ftp://x", "http://", "http://x:port", "localhost:80"]
)
def test_an_address_that_is_none_is_told_so(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        base_url(url)


@pytest.mark.parametrize(
    ("user", "token", "sent"),
    [
        ("Zoë", None, {b"user-id": "Zoë".encode()}),
        (None, "abc.def", {b"authorization": b"Bearer abc.def"}),
        ("Zoë", "abc.def", {b"authorization": b"Bearer abc.def"}),
        (None, None, {}),
    ],
)
def test_who_calls_is_told_by_name_or_by_token(
    user: str | None, token: str | None, sent: dict[bytes, bytes]
) -> None:
    assert Credentials(user, token).headers == sent


def test_an_upload_is_not_ended_because_a_token_has_run_out() -> None:
    source = FileSource(io.BytesIO(b"abc"), "photo.jpg")
    store = UploadStateStore(ResumeState("key.1", "/uploads/01P"))
    steps = ImageUpload(source, UploadTexts(), store, Clock().policy()).steps()
    answers: list[object] = [
        Reply(200, {"upload-offset": "0"}, b""),
        Reply(401, {"www-authenticate": 'error_description="the token has expired"'}, b"{}"),
    ]
    sent: list[object] = [next(steps)]
    with pytest.raises(RefusedError, match="has expired"):
        sent.extend(steps.send(answer) for answer in answers)
    methods = [step.method for step in sent if isinstance(step, Send)]
    assert methods == ["HEAD", "PATCH"]


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        (
            'Bearer scope="" error="invalid_token" error_description="the token has expired"',
            "expired",
        ),
        ('Bearer error="invalid_token", error_description="It is damaged."', "It is damaged."),
        ("Bearer", "This request needs a user"),
        ("", "This request needs a user"),
    ],
)
def test_why_a_token_was_refused_is_said_also_without_a_body(challenge: str, said: str) -> None:
    """As in the answer to a HEAD."""
    assert said in str(refusal(Reply(401, {"www-authenticate": challenge}, b"")))


def test_uploads_are_remembered_by_whom_the_token_names() -> None:
    claims = urlsafe_b64encode(b'{"sub":"a1"}').decode().rstrip("=")
    assert Credentials(None, f"e30.{claims}.c2ln").user == "a1"
    assert Credentials("alice", "opaque").user == "alice"
    assert Credentials("alice", "a.b.c").user == "alice"
    assert Credentials("alice", None).user == "alice"


def test_a_token_that_is_a_function_is_asked_again_for_the_one_that_was_refused_only() -> None:
    tokens = iter(["first", "second", "never asked"])
    credentials = Credentials(None, lambda: next(tokens))
    assert credentials.headers == {b"authorization": b"Bearer first"}
    assert credentials.renew("first")
    assert credentials.renew("first")  # another request has renewed it meanwhile
    assert credentials.headers == {b"authorization": b"Bearer second"}
    assert not Credentials(None, "fixed").renew("fixed")
    assert not Credentials(None, lambda: "same").renew("same")
