"""Blocked words are found however they are written, at the boundaries of words, in linear time."""

import unicodedata
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from image_poster.domain.block_lists import (
    MAX_LINE_CHARACTERS,
    BlockedWords,
    BlockedWordsError,
    fold,
)

LIST = BlockedWords.parse(
    "# a comment\n\nnasty\n  Very Evil \nfool*\nso called*\ndon't\nc++\n\U0001f346\n"
    "坏话\nstraße\nщип\nห้าม\nشتيمة\n"
)
LETTERS = st.text("abcdeé", min_size=1, max_size=6)
INVISIBLE = (
    *("\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2060", "\ufeff", "\u00ad", "\u061c"),
    *("\u202e", "\u2066", "\u2069", "\ufe0f", "\U000e0100", "\U000e0061", "\u034f", "\u180e"),
    *("\x00", "\x07", "\x1f", "\x7f", "\u0336", "\u20dd", "\ufff9"),
)


@pytest.mark.parametrize(
    "text",
    [
        *("nasty", "NASTY", "a nasty day", "(nasty)", "nasty!", "...nasty", "nasty's", "nasty\n"),
        *("very evil", "very \n\t evil", "very\u3000evil", "very\u00a0evil", "VERY EVIL."),
        *("fool", "foolish", "foolery today", "so called", "so  calledish"),
        *("don't", "don\u2019t", "c++ here", "eat \U0001f346\U0001f346", "STRASSE", "straße"),
        *("这是坏话啊", "ЩИП", "เขาห้ามแล้ว", "شتيمة", "شتـــيمة"),
    ],
)
def test_a_blocked_word_or_phrase_is_found(text: str) -> None:
    assert LIST.matches(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "dynasty", "nastyness", "nas ty", "veryevil", "very, evil", "very evilness"),
        *("every evil", "unfool", "so call", "also called", "dont", "don t", "c+", "坏 话", "话坏"),
        *("# a comment", "a comment", "strasze", "\U0001f345"),
    ],
)
def test_other_texts_are_not_blocked(text: str) -> None:
    assert not LIST.matches(text)


@pytest.mark.parametrize("hidden", INVISIBLE)
def test_invisible_characters_hide_nothing(hidden: str) -> None:
    assert LIST.matches(hidden.join("nasty"))
    assert LIST.matches(f"{hidden}nasty{hidden}")
    assert LIST.matches(f"very{hidden} {hidden}evil")
    assert LIST.matches(f"very {hidden} evil")
    assert BlockedWords.parse(f"{hidden}na{hidden}sty{hidden}").matches("nasty")


@pytest.mark.parametrize(
    "form",
    ["ｎａｓｔｙ", "\U0001d427\U0001d41a\U0001d42c\U0001d42d\U0001d432", "ⓝⓐⓢⓣⓨ", "naſty"],  # noqa: RUF001 - that is the attack
)
def test_other_forms_of_letters_hide_nothing(form: str) -> None:
    assert LIST.matches(form)


@pytest.mark.parametrize(
    "blank", ["\u3164", "\uffa0", "\u115f", "\u1160", "\u2800", "\u2003", "\x85", "\u2028"]
)
def test_a_blank_is_white_space(blank: str) -> None:
    assert LIST.matches(f"very{blank}evil")
    assert LIST.matches(f"nasty{blank}")


@pytest.mark.parametrize("mark", "_*~`\"'-.,:;/|\\<>[]{}#@&%$+=^\u00bf\u3002\u2019\u00ab\u2026")
def test_punctuation_around_a_word_does_not_hide_it(mark: str) -> None:
    assert LIST.matches(f"{mark}nasty{mark}")
    assert LIST.matches(f"such{mark}nasty{mark}stuff")


def test_marks_belong_to_the_letter_before_them() -> None:
    words = BlockedWords.parse("cafe\nनमस\n")
    assert not words.matches("cafe\u0301")
    assert not words.matches("नमस्ते")
    assert BlockedWords.parse("café").matches("cafe\u0301")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        *(
            (line, "no letter")
            for line in ("*", "***", "\u200b", "\u200b*", "...", "- -", "\u0301")
        ),
        ("x" * (MAX_LINE_CHARACTERS + 1), "longer than 200"),
    ],
)
def test_a_line_that_would_match_nothing_or_anything_is_named(line: str, problem: str) -> None:
    with pytest.raises(BlockedWordsError, match=f"line 3 .*{problem}") as wrong:
        BlockedWords.parse(f"# ours\nfine\n{line}\n")
    assert wrong.value.line == 3


def test_a_list_may_come_from_windows_and_begin_with_a_byte_order_mark() -> None:
    words = BlockedWords.parse("\ufeff# ours\r\nnasty\r\n\r\nfool*\r\n")
    assert len(words) == 2
    assert words.matches("nasty")
    assert words.matches("foolish")


def test_an_empty_list_blocks_nothing() -> None:
    assert not BlockedWords().matches("nasty")
    assert not BlockedWords.parse("# only this\n\n").matches("# only this")


@given(st.lists(LETTERS, min_size=1, max_size=6), st.lists(LETTERS, max_size=8))
def test_words_are_found_just_as_by_comparing_each(blocked: list[str], text: list[str]) -> None:
    words = BlockedWords.parse("\n".join(blocked))
    assert words.matches(" ".join(text)) == (not set(blocked).isdisjoint(text))


@given(st.lists(LETTERS, min_size=1, max_size=6), st.lists(LETTERS, max_size=8))
def test_prefixes_are_found_just_as_by_comparing_each(blocked: list[str], text: list[str]) -> None:
    words = BlockedWords.parse("".join(f"{prefix}*\n" for prefix in blocked))
    expected = any(word.startswith(prefix) for word in text for prefix in blocked)
    assert words.matches(", ".join(text)) == expected


@given(st.lists(st.tuples(LETTERS, LETTERS), min_size=1, max_size=6), st.lists(LETTERS, max_size=9))
def test_phrases_are_found_just_as_by_comparing_each(
    blocked: list[tuple[str, str]], text: list[str]
) -> None:
    words = BlockedWords.parse("\n".join(map(" ".join, blocked)))
    assert words.matches("\n ".join(text)) == (not set(blocked).isdisjoint(pairwise(text)))


@given(
    st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "b", "ab", "a b", "b a", "a*", "b a*"]), max_size=5),
    st.lists(st.sampled_from(["a", "b", "ab"]), max_size=6),
)
def test_a_line_blocks_whatever_the_other_lines_are(
    line: list[str], others: list[str], around: list[str]
) -> None:
    words = BlockedWords.parse("\n".join([*others, " ".join(line)]))
    assert words.matches(" ".join([*around, *line, *around]))


@given(st.text(max_size=60))
def test_any_line_blocks_itself_or_is_named(line: str) -> None:
    assume("\n" not in line and line.strip() and not line.strip().startswith("#"))
    assume(not line.strip().endswith("*"))
    try:
        words = BlockedWords.parse(line)
    except BlockedWordsError as wrong:
        assert wrong.line == 1
    else:
        assert words.matches(line)
        assert words.matches(f"({line.upper().lower()})") or line.upper().lower() != line
        assert words.matches(f"see: {line} !")


@given(st.text(max_size=60))
def test_folding_is_stable_and_leaves_nothing_invisible(text: str) -> None:
    folded = fold(text)
    assert fold(folded) == folded
    assert not any(
        unicodedata.category(character) in {"Cf", "Cc"} and not character.isspace()
        for character in folded
        if not "\u0600" <= character <= "\u08ff"  # the signs before Arabic numbers are visible
    )


@given(st.text(alphabet=st.sampled_from("nasty \u200b\u0301*#\n'x"), max_size=40))
def test_any_text_can_be_searched(text: str) -> None:
    assert LIST.matches(f"{text} nasty {text}")


def hostile_texts(length: int) -> list[str]:
    return [
        *("a " * (length // 2), "a" * length, "a" + "\u0301\u0323" * (length // 2)),
        *(
            "\u200b" * length,
            "a\u0300" * (length // 2),
            "\u0344" * length,
            "\ufdfa" * (length // 16),
        ),
        *("".join(map(chr, range(0x4E00, 0x4E00 + length))), "a\u200b" * (length // 2)),
    ]


@pytest.mark.parametrize("text", hostile_texts(16_000), ids=range(9))
def test_the_time_of_a_search_is_linear_for_hostile_texts_and_lists(text: str) -> None:
    nested = (f"{'a ' * (at % 90)}b{at}" for at in range(1000))
    words = BlockedWords.parse("\n".join([*nested, "a" * MAX_LINE_CHARACTERS]))

    def seconds(part: str) -> float:
        times = []
        for _ in range(3):
            start = process_time()
            words.matches(part)
            times.append(process_time() - start)
        return min(times)

    # Linear is 8; quadratic would be 64.
    assert seconds(text) <= 24 * seconds(text[: len(text) // 8]) + 0.02


def test_of_lines_of_which_one_begins_with_another_the_shorter_is_enough() -> None:
    words = BlockedWords.parse("so*\nso bad\nsober\nno\nno way\nnobody")
    assert len(words) == 3
    for text in ("so", "so bad", "sober", "no", "no way", "nobody"):
        assert words.matches(text)
    assert not words.matches("now")
