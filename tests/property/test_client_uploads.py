"""Whatever the network and the service do, the client's upload ends in the same bytes, one upload,
and no byte sent twice that had arrived."""

import io
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_poster.client.journal import ResumeState, UploadStateStore
from image_poster.client.results import TooLateError
from image_poster.client.retries import ConnectionFailure, Outcome, Pause, Policy, Reply, Send
from image_poster.client.uploading import (
    SMALLEST_PIECE_BYTES,
    FileSource,
    ImageUpload,
    Source,
    StreamSource,
    UploadTexts,
)

# More than two pieces of 512 KiB, and no round number.
CONTENT = bytes(range(256)) * 5003
BUSY = Reply(503, {"retry-after": "0"}, b'{"code":"busy","detail":"Busy."}')


class Fault(NamedTuple):
    """The fate of one request: it arrives, up to `arrives` bytes of its body, and is answered, or
    not."""

    arrives: int | None
    answered: bool
    busy: bool = False


FINE = Fault(None, answered=True)
FAULTS = st.lists(
    st.one_of(
        st.just(FINE),
        st.builds(Fault, st.one_of(st.none(), st.integers(0, 600_000)), st.just(False)),
        st.builds(Fault, st.just(0), st.just(True), st.just(True)),
    ),
    max_size=25,
)


class FakeService:
    """tus as this service speaks it, over a network that does what it is told."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults: Iterator[Fault] = iter(faults)
        self.uploads: dict[str, bytearray] = {}
        self.lengths: dict[str, int | None] = {}
        self.keys: dict[str, str] = {}
        self.sent = self.lost = 0

    def answer(self, send: Send) -> Outcome:
        fault = next(self._faults, FINE)
        if fault.busy:
            return BUSY
        if fault.arrives == 0 and not fault.answered:
            return ConnectionFailure("broken before it arrived")
        reply = self._handle(send, fault.arrives)
        if not fault.answered or (fault.arrives or 0) > len(send.body):
            return ConnectionFailure("the answer was lost")
        return reply

    def _handle(self, send: Send, arrives: int | None) -> Reply:
        headers = dict(send.headers)
        path = send.path
        if path == "/posts":
            size = msgspec.json.decode(send.body)["image"]["size"]
            return self._create({**headers, "upload-length": str(size)}, "/posts/")
        assert headers["tus-resumable"] == "1.0.0"
        if send.method == "POST":
            return self._create(headers, "/uploads/")
        if send.method == "PATCH":
            return self._append(path, headers, send.body, arrives)
        assert send.method == "HEAD"
        return Reply(200, {"upload-offset": str(len(self.uploads[path]))}, b"")

    def _create(self, headers: dict[str, str], way: str) -> Reply:
        replayed = headers["idempotency-key"] in self.keys
        path = self.keys.setdefault(headers["idempotency-key"], f"/uploads/{len(self.keys)}")
        received = self.uploads.setdefault(path, bytearray())
        length = headers.get("upload-length")
        self.lengths.setdefault(path, int(length) if length else None)
        told = {"location": path.replace("/uploads/", way), "upload-offset": str(len(received))}
        return Reply(201, told | ({"idempotent-replayed": "true"} if replayed else {}), b"")

    def _append(
        self, path: str, headers: dict[str, str], body: bytes, arrives: int | None
    ) -> Reply:
        received = self.uploads[path]
        self.sent += len(body)
        if int(headers["upload-offset"]) != len(received):
            return Reply(409, {}, b'{"code":"offset_mismatch","detail":"Elsewhere."}')
        received += body if arrives is None else body[:arrives]
        self.lost += 0 if arrives is None else max(0, len(body) - arrives)
        if "upload-length" in headers:
            declared = int(headers["upload-length"])
            assert self.lengths[path] in (None, declared)
            self.lengths[path] = declared
        if arrives is not None and arrives < len(body):
            return Reply(500, {}, b"")  # never seen: the connection broke
        return Reply(204, {"upload-offset": str(len(received))}, b"")

    def is_whole(self, path: str) -> bool:
        return self.lengths[path] == len(self.uploads[path]) and self.uploads[path] == CONTENT


NOW = 1_800_000_000.0


def impatient() -> Policy:
    return Policy(now=lambda: 0.0, wall_clock=lambda: NOW, jitter=lambda low, _high: low)


class StoppedError(Exception):
    """As if the process had been killed."""


def run(service: FakeService, source: Source, state: ResumeState, stop_after: int) -> ResumeState:
    """Execute steps, each with a moment before and after it; raises `StoppedError` after so many
    moments, with the stored state."""
    store = UploadStateStore(state)
    steps = ImageUpload(source, UploadTexts("caption"), store, impatient()).steps()
    answer: object = None
    for moment in range(0, 20_000, 2):
        if moment == stop_after:
            raise StoppedError(store.state)
        try:
            step = steps.send(answer)
        except StopIteration:
            return store.state
        if moment + 1 == stop_after:
            raise StoppedError(store.state)
        if isinstance(step, Send):
            answer = service.answer(step)
        else:
            assert isinstance(step, Pause)
            answer = None
    raise AssertionError("it never ends")


@given(FAULTS, st.lists(st.integers(1, 20), max_size=4))
@settings(deadline=None)
def test_a_file_arrives_once_whatever_breaks_and_however_often_it_is_started(
    faults: list[Fault], stops: list[int]
) -> None:
    service, state = FakeService(faults), ResumeState("a-key.0")
    source = FileSource(io.BytesIO(CONTENT), "photo")
    for stop in [*stops, -1]:
        try:
            state = run(service, source, state, stop)
        except StoppedError as stopped:
            (state,) = stopped.args
    assert state.complete
    assert list(service.uploads) == [state.location]
    assert service.is_whole(state.location)


@given(FAULTS)
@settings(deadline=None)
def test_a_stream_of_unknown_length_arrives_too(faults: list[Fault]) -> None:
    service = FakeService(faults)
    state = run(service, StreamSource(io.BytesIO(CONTENT), "-"), ResumeState("a-key.0"), -1)
    assert list(service.uploads) == [state.location]
    assert service.is_whole(state.location)


@given(FAULTS)
@settings(deadline=None)
def test_only_what_was_lost_is_sent_again(faults: list[Fault]) -> None:
    service = FakeService(faults)
    run(service, FileSource(io.BytesIO(CONTENT), "photo"), ResumeState("a-key.0"), -1)
    assert service.sent == len(CONTENT) + service.lost


class Forgetful(FakeService):
    def answer(self, send: Send) -> Outcome:
        if send.path == "/uploads/gone":
            return Reply(410, {}, b"")
        return super().answer(send)


@pytest.mark.parametrize("days", [0, 5.9])
def test_an_upload_that_has_ended_is_asked_for_again_by_its_own_key(days: float) -> None:
    """The service knows whether it ended unfinished, or was deleted."""
    service, since = Forgetful([]), NOW - days * 24 * 3600
    source = FileSource(io.BytesIO(CONTENT), "photo")
    state = run(service, source, ResumeState("a-key", "/uploads/gone", since=since), -1)
    assert (service.keys, state.since) == ({"a-key": state.location}, since)
    assert service.is_whole(state.location)


@pytest.mark.parametrize(
    "state", [ResumeState("a-key"), ResumeState("a-key", "/uploads/gone", complete=True)]
)
def test_what_was_first_sent_over_six_days_ago_is_not_sent_again(state: ResumeState) -> None:
    service, long_ago = Forgetful([]), NOW - 6.1 * 24 * 3600
    source = FileSource(io.BytesIO(CONTENT), "photo")
    with pytest.raises(TooLateError, match="may have been posted then"):
        run(service, source, msgspec.structs.replace(state, since=long_ago), -1)
    assert service.keys == {}


def test_after_a_cut_pieces_are_smaller_for_a_while() -> None:
    sizes: list[int] = []

    class Watching(FakeService):
        def answer(self, send: Send) -> Outcome:
            if send.method == "PATCH":
                sizes.append(len(send.body))
            return super().answer(send)

    cut = (Fault(10, answered=False), FINE)
    service = Watching([FINE, *cut, *cut, *cut])
    run(service, FileSource(io.BytesIO(CONTENT), "photo"), ResumeState("a-key.0"), -1)
    smallest = SMALLEST_PIECE_BYTES
    assert sizes[:5] == [2 * smallest, smallest, smallest, smallest, 2 * smallest]
