"""The list of blocked hashes, and its nearest match."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_poster.domain.block_lists import (
    HashList,
    HashListError,
    HashMatch,
    find_nearest,
    hash_distance,
)
from image_poster.domain.images import ImageHash

BITS = st.integers(0, 2**256 - 1)
chance = random.Random(22)
HASHES = [chance.getrandbits(256) for _ in range(50)]


def digits(bits: int) -> str:
    return f"{bits:064x}"


def with_flipped(bits: int, count: int) -> int:
    for place in random.Random(bits + count).sample(range(256), count):
        bits ^= 1 << place
    return bits


def test_a_list_has_comments_blank_lines_and_either_case() -> None:
    first, second = map(digits, HASHES[:2])
    text = f"\ufeff# ours\r\n\r\n{first.upper()}\r\n  {second}  # a cat\n\n"
    hashes = HashList.parse(text)
    assert len(hashes) == 2
    assert hashes.match(first, 100) == HashMatch(3, 0)
    assert hashes.match(second.upper(), 50) == HashMatch(4, 0)


@pytest.mark.parametrize(
    "line",
    ["0" * 63, "0" * 65, "g" * 64, "0x" + "0" * 62, "0" * 32 + " " + "0" * 31, "\u0660" * 64],
)
def test_a_wrong_line_is_named_with_the_expected_form(line: str) -> None:
    with pytest.raises(HashListError, match="64 hexadecimal digits") as wrong:
        HashList.parse(f"# ours\n{digits(HASHES[0])}\n{line}\n")
    assert wrong.value.line == 3
    assert "line 3" in str(wrong.value)
    assert len(str(wrong.value)) < 250


def test_an_error_quotes_no_more_than_the_beginning_of_a_line() -> None:
    with pytest.raises(HashListError) as wrong:
        HashList.parse("x" * 100_000)
    assert len(str(wrong.value)) < 250


@pytest.mark.parametrize(("flipped", "matches"), [(0, True), (31, True), (32, False)])
def test_a_hash_matches_up_to_a_distance_of_31(flipped: int, *, matches: bool) -> None:
    hashes = HashList([(7, digits(HASHES[0]))])
    expected = HashMatch(7, flipped) if matches else None
    assert hashes.match(digits(with_flipped(HASHES[0], flipped)), 100) == expected


@pytest.mark.parametrize(("quality", "matches"), [(49, False), (50, True)])
def test_an_image_of_low_quality_matches_nothing(quality: int, *, matches: bool) -> None:
    hashes = HashList([(1, digits(HASHES[0]))])
    assert (hashes.match(digits(HASHES[0]), quality) is not None) == matches


def test_an_image_without_a_hash_matches_nothing() -> None:
    assert HashList([(1, "0" * 64)]).match("", 100) is None
    assert HashList().match("0" * 64, 100) is None


def test_the_first_of_equally_near_lines_is_named() -> None:
    hashes = HashList([(2, digits(HASHES[0] ^ 3)), (5, digits(HASHES[0])), (9, digits(HASHES[0]))])
    assert hashes.match(digits(HASHES[0]), 100) == HashMatch(5, 0)


@given(BITS, BITS)
def test_the_distance_is_the_number_of_different_bits(first: int, second: int) -> None:
    expected = sum(a != b for a, b in zip(f"{first:0256b}", f"{second:0256b}", strict=True))
    assert hash_distance(digits(first), digits(second)) == expected
    assert hash_distance(digits(second), digits(first)) == expected


@given(st.sampled_from(HASHES), st.integers(0, 40))
def test_the_nearest_of_many_is_found(bits: int, flipped: int) -> None:
    nearest = find_nearest(ImageHash(digits(with_flipped(bits, flipped)), 80), HASHES)
    if flipped > 31:
        assert nearest is None
    else:
        assert nearest is not None
        assert (HASHES[nearest.place], nearest.distance) == (bits, flipped)


@given(st.text(max_size=100))
def test_any_text_is_a_list_or_names_its_wrong_line(text: str) -> None:
    try:
        hashes = HashList.parse(text)
    except HashListError as wrong:
        assert 1 <= wrong.line <= text.count("\n") + 1
    else:
        assert len(hashes) == 0  # the text is too short for two, and random text has none
