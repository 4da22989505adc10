"""The pure rules."""

import re

import pytest

from image_poster.domain import images, limits, posts
from image_poster.domain.comments import Comment, join_latest, split_latest, with_newest
from image_poster.domain.errors import (
    ERRORS,
    ImagePosterError,
    InvalidCursorError,
    NotYoursError,
    ValidationFailedError,
)
from image_poster.domain.feed import FeedCursor
from image_poster.domain.identity import Identity
from image_poster.domain.ids import is_id, new_id, rfc3339
from image_poster.domain.images import RenderedImage, Size
from image_poster.domain.posts import Failure, Post, PostStatus
from image_poster.domain.signing import CursorSigner, Signer

RENDERED = RenderedImage(Size(600, 600), Size(1600, 1067), "U0hash")


def post(status: PostStatus = PostStatus.PROCESSING) -> Post:
    return Post(new_id(), status, "", "", "alice", "2026-01-01T00:00:00.000Z")


def test_ids_sort_in_the_order_of_their_making() -> None:
    ids = [new_id() for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert all(is_id(id_) for id_ in ids)


@pytest.mark.parametrize(
    "text", ["", "8" + "0" * 25, "0" * 25, "0" * 27, "I" + "0" * 25, "0" * 25 + "\n"]
)
def test_what_is_no_ulid_is_no_id(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_767_225_599_007, "2025-12-31T23:59:59.007Z"),
        (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_rfc_3339_with_milliseconds(milliseconds: int, text: str) -> None:
    assert rfc3339(milliseconds) == text


def test_every_error_has_one_code_a_status_and_a_sentence() -> None:
    errors = ERRORS
    assert len({error.code for error in errors}) == len(errors)
    for error in errors:
        assert 400 <= error.status < 600
        if error is not ValidationFailedError:
            assert error.detail.endswith((".", "`.")), error
            assert error.detail != ImagePosterError.detail, error


def test_an_error_is_named_after_its_code() -> None:
    from image_poster.domain import errors

    for error in ERRORS:
        words = "".join(map(str.capitalize, error.code.split("_")))
        assert error.__name__ == words.removesuffix("Error") + "Error"
        assert getattr(errors, error.__name__) is error


def test_texts_are_trimmed_and_their_newlines_folded() -> None:
    assert limits.clean("caption", "  a\r\nb\tc \n", longest=10) == "a\nb\tc"


@pytest.mark.parametrize(
    ("text", "name"), [("a\x00", "U+0000, NUL"), ("a\ud83d", "U+D83D, half of a surrogate pair")]
)
def test_a_character_that_cannot_be_stored_is_named(text: str, name: str) -> None:
    with pytest.raises(ValidationFailedError, match=re.escape(name)):
        limits.clean("caption", text, longest=100)


def test_only_an_owner_or_an_admin_passes() -> None:
    Identity("alice").require("alice", "bob")
    Identity("root", admin=True).require("alice")
    with pytest.raises(NotYoursError):
        Identity("mallory").require("alice", "bob")


@pytest.mark.parametrize(
    "status", [PostStatus.AWAITING_UPLOAD, PostStatus.READY, PostStatus.FAILED]
)
def test_late_image_work_never_moves_a_post_that_left_processing(status: PostStatus) -> None:
    before = post(status)
    assert posts.published_post(before, RENDERED) == before
    assert posts.failed_post(before, Failure("x", "y")) == before


def test_only_what_is_parked_can_be_replayed() -> None:
    parked = posts.failed_post(post(), posts.PROCESSING_FAILED)
    assert posts.is_parked(parked)
    assert posts.replayed_post(parked).status is PostStatus.PROCESSING
    unreadable = posts.failed_post(post(), Failure("image_unreadable", "broken"))
    assert posts.replayed_post(unreadable) == unreadable


def test_the_latest_comments_are_lines_of_json() -> None:
    docs = [b'{"n":%d}' % number for number in range(12)]
    latest = b""
    for doc in docs:
        latest = with_newest(latest, doc)
    assert split_latest(latest, 10) == docs[:1:-1]
    assert split_latest(latest, 2) == docs[:-3:-1]
    assert split_latest(latest, 0) == split_latest(b"", 5) == []
    assert join_latest([]) == b""


def test_no_comment_can_break_its_line() -> None:
    from image_poster.domain.comments import encode_comment

    nasty = Comment(new_id(), new_id(), "a\nb", "one\ntwo\r\u2028\u0085", "now")
    assert b"\n" not in encode_comment(nasty)


def test_a_cursor_is_good_for_its_list_and_secret_only() -> None:
    signer = CursorSigner(Signer(b"secret"))
    position = FeedCursor(3, new_id())
    cursor = signer.write("feed:top:", position)
    assert signer.read("feed:top:", cursor, FeedCursor) == position
    for other, name in ((signer, "feed:new:"), (CursorSigner(Signer(b"other")), "feed:top:")):
        with pytest.raises(InvalidCursorError):
            other.read(name, cursor, FeedCursor)


@pytest.mark.parametrize(
    ("source", "working"),
    [
        (Size(6000, 4000), Size(1600, 1067)),
        (Size(800, 600), Size(800, 600)),
        (Size(8000, 1000), Size(4800, 600)),
        (Size(8000, 500), Size(8000, 500)),
    ],
)
def test_the_decode_is_as_small_as_both_renditions_allow(source: Size, working: Size) -> None:
    assert images.working_size(source) == working
