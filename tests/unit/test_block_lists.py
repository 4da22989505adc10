"""The files of blocked images and words: read at the start, and again after a change."""

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from image_poster.editions import StartError
from image_poster.editions.local.moderation import BlockLists

HASH, OTHER = "0123456789abcdef" * 4, "f" * 64


class SettableClock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "hashes.txt"
    path.write_text(f"# ours\n{HASH}\n")
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("# ours\nnasty\n")
    return path


def rewrite(path: Path, content: str | bytes) -> None:
    """Replace the content, and move the time of the file on, also within one tick of the clock."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def test_both_files_are_read_at_the_start(images: Path, words: Path) -> None:
    lists = BlockLists(images, words)
    match = lists.images.match(HASH, 100)
    assert match is not None
    assert match.line == 2
    assert lists.words.matches("how nasty!")
    assert not lists.words.matches("how nice!")


def test_without_files_nothing_is_blocked() -> None:
    lists = BlockLists()
    lists.refresh()
    assert lists.images.match(HASH, 100) is None
    assert not lists.words.matches("nasty")


def test_a_wrong_line_of_hashes_stops_the_start_and_is_named(images: Path) -> None:
    images.write_text(f"{HASH}\n\n{HASH[1:]}\n")
    with pytest.raises(StartError, match=r"blocked_images: .*hashes.txt: line 3 is no PDQ hash"):
        BlockLists(images)


def test_a_wrong_line_of_words_stops_the_start_and_is_named(words: Path) -> None:
    words.write_text("fine\n...\n")
    with pytest.raises(StartError, match=r"blocked_words: .*words.txt: line 2 has no letter"):
        BlockLists(words=words)


def test_a_byte_that_is_no_utf_8_stops_the_start_and_its_line_is_named(words: Path) -> None:
    words.write_bytes("fine\nschön\n".encode("latin-1"))
    with pytest.raises(StartError, match="line 2 is not UTF-8"):
        BlockLists(words=words)


@pytest.mark.parametrize("kind", ["missing", "folder", "below a file"])
def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, words: Path, kind: str) -> None:
    paths = {"missing": tmp_path / "none.txt", "folder": tmp_path, "below a file": words / "x"}
    with pytest.raises(StartError, match=r"blocked_words: .* cannot be read \("):
        BlockLists(words=paths[kind])


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert not BlockLists(words=pipe).words.matches("nasty")


def test_a_file_that_is_too_large_stops_the_start(
    words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("image_poster.editions.local.moderation._MAX_FILE_BYTES", 10)
    with pytest.raises(StartError, match="larger than 10 bytes"):
        BlockLists(words=words)


def test_a_changed_file_is_read_again_a_minute_later(images: Path, words: Path) -> None:
    clock = SettableClock()
    lists = BlockLists(images, words, clock=clock)
    rewrite(images, f"{OTHER}\n")
    rewrite(words, "ugly\n")
    clock.seconds += 59
    lists.refresh()
    assert lists.words.matches("nasty")
    clock.seconds += 1
    lists.refresh()
    assert lists.images.match(OTHER, 100) is not None
    assert lists.images.match(HASH, 100) is None
    assert lists.words.matches("ugly")
    assert not lists.words.matches("nasty")


def test_an_unchanged_file_is_not_read_again(words: Path) -> None:
    clock = SettableClock()
    lists = BlockLists(words=words, clock=clock)
    before = lists.words
    clock.seconds += 60
    lists.refresh()
    assert lists.words is before


@pytest.mark.parametrize("content", [b"fine\n...\n", b"\xff\n", None])
def test_a_wrong_new_version_is_logged_once_and_the_former_list_stays(
    words: Path, content: bytes | None
) -> None:
    clock = SettableClock()
    lists = BlockLists(words=words, clock=clock)
    if content is None:
        words.unlink()
    else:
        rewrite(words, content)
    with capture_logs() as logs:
        for _ in range(3):
            clock.seconds += 60
            lists.refresh()
    (entry,) = logs
    assert entry["log_level"] == "error"
    assert "words.txt" in entry["error"]
    assert lists.words.matches("nasty")


def test_a_corrected_file_comes_into_force(words: Path) -> None:
    clock = SettableClock()
    lists = BlockLists(words=words, clock=clock)
    for content in ("...\n", "ugly\n"):
        rewrite(words, content)
        clock.seconds += 60
        lists.refresh()
    assert lists.words.matches("ugly")
    assert not lists.words.matches("nasty")
