"""Rules that hold for every input."""

import asyncio
import hashlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from image_poster.domain.errors import (
    ImagePosterError,
    InvalidCursorError,
    RangeNotSatisfiableError,
    ValidationFailedError,
)
from image_poster.domain.feed import FeedCursor
from image_poster.domain.images import Size, large_size, sniff, working_size
from image_poster.domain.limits import Limits, clean
from image_poster.domain.posts import PostTexts
from image_poster.domain.signing import CursorSigner, Signer
from image_poster.http.multipart import receive_post_form
from image_poster.http.requests import RequestBody, body_chunks
from image_poster.http.responses import matching_etag, requested_range
from image_poster.services.posts import PostDraft
from image_poster.services.upload_bodies import CountedBody
from support import samples

SIDES = st.integers(1, 60_000)
POSITIONS = st.builds(FeedCursor, st.integers(0, 2**53), st.text(max_size=26))


@given(st.builds(Size, SIDES, SIDES))
def test_renditions_never_enlarge_nor_stretch(source: Size) -> None:
    for size in (large_size(source), working_size(source)):
        assert 1 <= size.width <= source.width
        assert 1 <= size.height <= source.height
        factor = max(size.width, size.height) / max(source.width, source.height)
        assert size.width == 1 or abs(size.width - source.width * factor) <= 1
        assert size.height == 1 or abs(size.height - source.height * factor) <= 1
    assert max(large_size(source).width, large_size(source).height) <= 1600
    assert large_size(source).width <= working_size(source).width
    assert large_size(source).height <= working_size(source).height


@given(st.binary(max_size=80))
def test_any_bytes_can_be_sniffed(head: bytes) -> None:
    sniff(head)


@given(st.text(max_size=20), POSITIONS)
def test_a_cursor_comes_back_as_it_was(list_name: str, position: FeedCursor) -> None:
    signer = CursorSigner(Signer(b"k"))
    assume(len(cursor := signer.write(list_name, position)) <= 512)
    assert signer.read(list_name, cursor, FeedCursor) == position


@given(POSITIONS, st.data())
def test_any_change_of_a_cursor_is_noticed(position: FeedCursor, data: st.DataObject) -> None:
    signer = CursorSigner(Signer(b"k"))
    cursor = signer.write("list", position)
    at = data.draw(st.integers(0, len(cursor) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_=%é"))
    forged = cursor[:at] + letter + cursor[at + 1 :]
    try:
        result = signer.read("list", forged, FeedCursor)
    except InvalidCursorError:
        return
    assert result == position  # the last character may carry bits that mean nothing


@given(st.text(max_size=600))
def test_any_text_can_be_offered_as_a_cursor(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        CursorSigner(Signer(b"k")).read("list", text, FeedCursor)


@given(st.text(max_size=30))
@example("\r\n")
def test_a_clean_text_stays_as_it_is(text: str) -> None:
    try:
        once = clean("caption", text, longest=20)
    except ValidationFailedError:
        return
    assert clean("caption", once, longest=20) == once
    assert len(once) <= 20


@given(st.text(alphabet="bytes=0123456789-, ", max_size=20), st.integers(0, 1000))
def test_a_range_always_lies_within_the_file(header: str, size: int) -> None:
    try:
        interval = requested_range(header, size)
    except RangeNotSatisfiableError as refused:
        assert refused.size == size
        return
    if interval is not None:
        assert 0 <= interval.start < size
        assert 0 < interval.length <= size - interval.start


@given(st.text(max_size=30))
def test_any_if_none_match_can_be_read(header: str) -> None:
    matching_etag(header, '"tag"')


class FakeStaged:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.received = b""

    async def write(self, chunk: bytes) -> None:
        self.received += chunk


class FakeRequest:
    """A request whose body comes in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.headers = {
            "content-length": str(sum(map(len, pieces))),
            "content-type": "multipart/form-data; boundary=b0undary",
        }
        self.content_type = ("multipart/form-data", {"boundary": "b0undary"})
        self._pieces = pieces
        self.scope = {"state": {"body": RequestBody(self.receive, 60, {})}}

    async def receive(self) -> Any:
        piece = self._pieces.pop(0) if self._pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}


IMAGE = samples.jpeg(40, 30)
FORM = (
    b"".join(
        b'--b0undary\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
        % (name, file, value)
        for name, file, value in (
            (b"caption", b"", "Zoë".encode()),
            (b"image", b'; filename="a.jpg"', IMAGE),
            (b"alt", b"", b"\r\n--b0undar"),
        )
    )
    + b"--b0undary--\r\n"
)


@given(st.lists(st.integers(0, len(FORM)), max_size=12))
@example(list(range(len(FORM))))
def test_a_form_is_the_same_however_it_is_cut_into_pieces(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(FORM)]
    pieces = [FORM[start:stop] for start, stop in pairwise(edges)]
    staged = FakeStaged()
    request: Any = FakeRequest(pieces)
    body = CountedBody(body_chunks(request))
    form = receive_post_form(request, staged, Limits(), body, hashed=True)  # type: ignore[arg-type]
    draft = asyncio.run(form)
    assert body.received_bytes == len(FORM)
    texts = PostTexts("Zoë", "\r\n--b0undar")
    assert draft == PostDraft(texts, hashlib.sha256(IMAGE).digest(), len(IMAGE))
    assert staged.received == IMAGE


@given(st.integers(0, len(FORM) - 1), st.binary(max_size=3))
def test_a_damaged_form_is_refused_or_read_but_never_an_accident(at: int, junk: bytes) -> None:
    damaged = FORM[:at] + junk + FORM[at + len(junk) :]
    request: Any = FakeRequest([damaged])
    body = CountedBody(body_chunks(request))
    try:
        form = receive_post_form(request, FakeStaged(), Limits(), body, hashed=True)  # type: ignore[arg-type]
        asyncio.run(form)
    except ImagePosterError as refused:
        assert refused.status in (400, 413, 415, 422)
