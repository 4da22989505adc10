"""`GET /posts`: order, pages, cursors, latest comments."""

import re
from typing import Any

import pytest

from support.api import Api, assert_problem, fields, someone


@pytest.fixture(scope="module")
def commented(api: Api) -> tuple[str, list[str]]:
    """A creator with five posts, and their ids in the order of `top`: 3, 2, 2, 1, 0 comments."""
    alice = someone("alice")
    ids = [api.ready(alice, caption=str(index))["id"] for index in range(5)]
    for index, count in enumerate([2, 0, 3, 2, 1]):
        for number in range(count):
            api.comment(ids[index], someone("bob"), f"{index}/{number}")
    api.eventually(
        lambda: [shown["total_comments"] for shown in api.feed(creator=alice)["posts"]],
        [3, 2, 2, 1, 0],
    )
    return alice, [ids[2], ids[3], ids[0], ids[4], ids[1]]


def ids_of(page: dict[str, Any]) -> list[str]:
    return [post["id"] for post in page["posts"]]


def all_pages(api: Api, **question: Any) -> list[str]:
    """The ids of all pages, followed by cursor."""
    ids: list[str] = []
    cursor = None
    while True:
        page = api.feed(**question, **({"cursor": cursor} if cursor else {}))
        assert len(page["posts"]) <= question["limit"]
        ids += ids_of(page)
        cursor = page["next"]
        if cursor is None:
            return ids


def test_most_commented_first_then_newest(api: Api, commented: tuple[str, list[str]]) -> None:
    alice, top = commented
    page = api.feed(creator=alice)
    assert ids_of(page) == top
    assert [post["total_comments"] for post in page["posts"]] == [3, 2, 2, 1, 0]
    assert page["next"] is None


def test_newest_first_when_asked(api: Api, commented: tuple[str, list[str]]) -> None:
    alice, top = commented
    assert ids_of(api.feed(creator=alice, sort="new")) == sorted(top, reverse=True)


@pytest.mark.parametrize("sort", ["top", "new"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_pages_join_without_gap_or_repetition(
    api: Api, commented: tuple[str, list[str]], sort: str, limit: int
) -> None:
    alice, _ = commented
    all_ids = ids_of(api.feed(creator=alice, sort=sort))
    joined = all_pages(api, creator=alice, sort=sort, limit=limit)
    assert joined[:limit] == all_ids[:limit]
    if sort == "top":  # later pages are in the order of some seconds ago
        joined, all_ids = sorted(joined), sorted(all_ids)
    assert joined == all_ids


def test_everyones_posts_are_in_one_feed(api: Api, commented: tuple[str, list[str]]) -> None:
    _, top = commented
    ids = all_pages(api, sort="top", limit=100)
    assert set(top) <= set(ids)
    assert len(ids) == len(set(ids))


def test_each_post_has_its_latest_comments(api: Api, commented: tuple[str, list[str]]) -> None:
    alice, _ = commented
    first = api.feed(creator=alice)["posts"][0]
    assert [comment["content"] for comment in first["latest_comments"]] == ["2/2", "2/1"]
    assert {comment["post_id"] for comment in first["latest_comments"]} == {first["id"]}


@pytest.mark.parametrize("comments", [0, 1, 3, 10])
def test_how_many_latest_comments_can_be_asked(
    api: Api, commented: tuple[str, list[str]], comments: int
) -> None:
    alice, _ = commented
    first = api.feed(creator=alice, comments=comments)["posts"][0]
    expected = ["2/2", "2/1", "2/0"][:comments]
    assert [comment["content"] for comment in first["latest_comments"]] == expected


def test_the_link_header_leads_on(api: Api, commented: tuple[str, list[str]]) -> None:
    alice, top = commented
    answer = api.get("/posts", params={"creator": alice, "limit": 2, "comments": 1})
    match = re.fullmatch(r'<(.+)>; rel="next"', answer.headers["link"])
    assert match is not None
    following = api.get(match[1]).json()
    assert set(ids_of(following)) <= set(top[2:])
    shown = [(post["total_comments"] > 0) + 0 for post in following["posts"]]
    assert [len(post["latest_comments"]) for post in following["posts"]] == shown
    assert "link" not in api.get("/posts", params={"creator": alice}).headers


def test_a_page_that_changed_nothing_is_304(api: Api) -> None:
    alice = someone("alice")
    ids = [api.ready(alice)["id"] for _ in range(3)]
    question = {"creator": alice, "limit": 2}
    first = api.get("/posts", params=question)
    condition = {"if-none-match": first.headers["etag"]}
    repeated = api.get("/posts", params=question, headers=condition)
    assert (repeated.status_code, repeated.content) == (304, b"")
    assert repeated.headers["etag"] == first.headers["etag"]
    assert api.get("/posts", params={"creator": alice}, headers=condition).status_code == 200
    api.comment(ids[0], someone())
    api.eventually(lambda: api.get("/posts", params=question, headers=condition).status_code, 200)


@pytest.mark.same_code("rules of a query")
@pytest.mark.parametrize(
    "question",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "ten"},
        {"limit": ""},
        {"comments": "-1"},
        {"comments": "11"},
        {"sort": "best"},
    ],
)
def test_a_question_outside_the_limits_is_named(api: Api, question: dict[str, str]) -> None:
    answer = api.get("/posts", params=question)
    assert fields(assert_problem(answer, 422, "validation_failed")) == set(question)


def test_a_cursor_belongs_to_its_list(api: Api, commented: tuple[str, list[str]]) -> None:
    alice, top = commented
    cursor = api.feed(creator=alice, limit=2)["next"]
    for question in (
        {"creator": alice, "sort": "new"},
        {"creator": someone()},
        {},
    ):
        answer = api.get("/posts", params={**question, "cursor": cursor})
        assert_problem(answer, 400, "invalid_cursor")
    answer = api.get(f"/posts/{top[0]}/comments", params={"cursor": cursor})
    assert_problem(answer, 400, "invalid_cursor")


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "=" * 9, "A" * 10_000, "\x00"])
def test_a_forged_cursor_is_refused(api: Api, cursor: str) -> None:
    assert_problem(api.get("/posts", params={"cursor": cursor}), 400, "invalid_cursor")


def test_every_changed_character_of_a_cursor_is_noticed(
    api: Api, commented: tuple[str, list[str]]
) -> None:
    alice, _ = commented
    cursor = api.feed(creator=alice, limit=2)["next"]
    for at in range(0, len(cursor) - 1, 7):
        forged = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        answer = api.get("/posts", params={"creator": alice, "cursor": forged})
        assert_problem(answer, 400, "invalid_cursor")


def test_a_new_comment_moves_its_post_up_at_once(api: Api) -> None:
    alice = someone("alice")
    older, newer = (api.ready(alice)["id"] for _ in range(2))
    assert ids_of(api.feed(creator=alice)) == [newer, older]
    api.comment(older, someone())
    api.eventually(lambda: ids_of(api.feed(creator=alice)), [older, newer])


def test_what_one_asked_beside_the_question_is_not_in_the_answer_to_another(api: Api) -> None:
    """Pages are remembered by their question; a link that held more would hand it on."""
    user = someone("alice")
    for _ in range(2):
        api.ready(user)
    mine = {"creator": user, "limit": "1"}
    for question in ({**mine, "from": "mallory"}, mine):
        link = api.get("/posts", params=question).headers["link"]
        assert "mallory" not in link
        target = link.partition(">")[0].removeprefix("<")
        assert len(api.get(target).json()["posts"]) == 1
