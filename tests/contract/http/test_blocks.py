"""`/me/blocks`, the comments that a block refuses, and `GET /me/feed`."""

import re
from urllib.parse import quote

import pytest

from support.api import Api, assert_problem, fields, someone
from support.moderation import (
    Item,
    comment_subject,
    decide,
    items,
    new_key,
    pages,
    post_subject,
    report,
    walk,
)

MAX_BLOCKS = 1000
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def block(api: Api, user: str, other: str) -> None:
    answer = api.send("PUT", f"/me/blocks/{quote(other, safe='')}", user)
    assert (answer.status_code, answer.content) == (204, b""), answer.text


def unblock(api: Api, user: str, other: str) -> None:
    answer = api.send("DELETE", f"/me/blocks/{quote(other, safe='')}", user)
    assert (answer.status_code, answer.content) == (204, b""), answer.text


def blocked_users(api: Api, user: str) -> list[str]:
    return sorted(item["user"] for item in walk(api, "/me/blocks", user))


def own_feed_ids(api: Api, user: str, **question: str | int) -> list[str]:
    return [post["id"] for post in walk(api, "/me/feed", user, **question)]


def comment_code(api: Api, post: Item, user: str) -> str:
    """The problem code of a new comment; empty if it was accepted."""
    path = f"/posts/{post['id']}/comments"
    answer = api.send("POST", path, user, json={"content": "a comment"})
    return "" if answer.status_code == 201 else str(answer.json()["code"])


def test_blocking_and_unblocking_may_be_repeated(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    block(api, alice, bob)
    api.eventually(lambda: blocked_users(api, alice), [bob])
    first = walk(api, "/me/blocks", alice)
    block(api, alice, bob)
    assert walk(api, "/me/blocks", alice) == first
    assert set(first[0]) == {"user", "created_at"}
    assert re.fullmatch(TIME, first[0]["created_at"])
    for _ in range(2):
        unblock(api, alice, bob)
        api.eventually(lambda: blocked_users(api, alice), [])


def test_a_user_who_was_never_blocked_may_be_unblocked(api: Api) -> None:
    unblock(api, someone("alice"), someone("bob"))


def test_blocks_are_the_callers_own_and_pages_of_them_join(api: Api) -> None:
    alice = someone("alice")
    names = sorted(someone("bob") for _ in range(5))
    for name in names:
        block(api, alice, name)
    api.eventually(lambda: blocked_users(api, alice), names)
    walked = [item["user"] for item in walk(api, "/me/blocks", alice, limit=2)]
    assert sorted(walked) == names
    assert blocked_users(api, names[0]) == []
    assert api.get("/me/blocks", alice).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["Zoë-平", "a b", "auth0|5f7c", "a/b"])
def test_a_name_of_any_characters_can_be_blocked(api: Api, name: str) -> None:
    alice, other = someone("alice"), someone(name)
    block(api, alice, other)
    api.eventually(lambda: blocked_users(api, alice), [other])
    unblock(api, alice, other)
    api.eventually(lambda: blocked_users(api, alice), [])


def test_nobody_blocks_themselves(api: Api) -> None:
    alice = someone("alice")
    answer = api.send("PUT", f"/me/blocks/{alice}", alice)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"user"}
    assert blocked_users(api, alice) == []


def test_blocks_need_an_identity(api: Api) -> None:
    for method, path in (
        ("GET", "/me/blocks"),
        ("GET", "/me/blocks?limit=0"),
        ("PUT", "/me/blocks/bob"),
        ("DELETE", "/me/blocks/bob"),
        ("GET", "/me/feed"),
        ("GET", "/me/feed?limit=0"),
    ):
        api.assert_identity_required(api.send(method, path))


@pytest.mark.where(counts_at_once=True)
def test_a_user_has_at_most_1000_blocks(api: Api) -> None:
    """AWS would take minutes for 1,000 requests to the emulator."""
    alice = someone("alice")
    for number in range(MAX_BLOCKS):
        block(api, alice, f"user-{number}")
    answer = api.send("PUT", "/me/blocks/another", alice)
    assert_problem(answer, 422, "too_many_blocks")
    block(api, alice, "user-7")  # is blocked already
    unblock(api, alice, "user-7")
    block(api, alice, "another")
    assert len(walk(api, "/me/blocks", alice, limit=100)) == MAX_BLOCKS


def test_neither_of_two_users_comments_on_the_others_posts(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    by_alice, by_bob = api.ready(alice), api.ready(bob)
    block(api, alice, bob)
    api.eventually(lambda: comment_code(api, by_alice, bob), "blocked")
    api.eventually(lambda: comment_code(api, by_bob, alice), "blocked")
    body = {"post_id": by_alice["id"], "content": "by the former path"}
    answer = api.send("POST", "/comments", bob, json=body)
    problem = assert_problem(answer, 403, "blocked")
    assert problem["detail"] == "You cannot comment on this post."


def test_a_block_concerns_two_users_only(api: Api) -> None:
    alice, bob, carol = someone("alice"), someone("bob"), someone("carol")
    by_alice, by_carol = api.ready(alice), api.ready(carol)
    block(api, alice, bob)
    api.eventually(lambda: comment_code(api, by_alice, bob), "blocked")
    posts_and_users = ((by_alice, alice), (by_alice, carol), (by_carol, alice), (by_carol, bob))
    assert [comment_code(api, post, user) for post, user in posts_and_users] == [""] * 4


def test_after_unblocking_both_comment_again(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    by_alice, by_bob = api.ready(alice), api.ready(bob)
    block(api, alice, bob)
    api.eventually(lambda: comment_code(api, by_alice, bob), "blocked")
    unblock(api, alice, bob)
    api.eventually(lambda: comment_code(api, by_alice, bob), "")
    api.eventually(lambda: comment_code(api, by_bob, alice), "")


def test_two_blocks_of_each_other_end_one_by_one(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    by_alice = api.ready(alice)
    block(api, alice, bob)
    block(api, bob, alice)
    api.eventually(lambda: comment_code(api, by_alice, bob), "blocked")
    unblock(api, alice, bob)
    api.eventually(lambda: comment_code(api, by_alice, bob), "blocked")
    unblock(api, bob, alice)
    api.eventually(lambda: comment_code(api, by_alice, bob), "")


def test_a_refused_comment_is_not_stored_and_leaves_its_key_unused(api: Api) -> None:
    alice, bob, key = someone("alice"), someone("bob"), new_key()
    post = api.ready(alice)
    block(api, alice, bob)
    path, sent = f"/posts/{post['id']}/comments", {"json": {"content": "once"}, "headers": key}
    api.eventually(lambda: comment_code(api, post, bob), "blocked")
    assert_problem(api.send("POST", path, bob, **sent), 403, "blocked")
    listed = api.get(path).json()["comments"]
    unblock(api, alice, bob)
    api.eventually(lambda: api.send("POST", path, bob, **sent).status_code, 201)
    assert len(api.get(path).json()["comments"]) == len(listed) + 1


def test_blocked_users_still_read_each_others_posts(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = api.ready(alice)
    block(api, alice, bob)
    block(api, bob, alice)
    assert api.get(f"/posts/{post['id']}", bob).status_code == 200


def test_the_own_feed_is_the_feed_for_a_caller_without_blocks(api: Api) -> None:
    alice = someone("alice")
    for number in range(3):
        post = api.ready(alice)
        for _ in range(number % 2):
            api.comment(post["id"], someone())
    question = {"creator": alice, "comments": 1}
    api.eventually(lambda: sum(post["total_comments"] for post in api.feed(**question)["posts"]), 1)
    answer = api.get("/me/feed", someone("bob"), params=question)
    assert answer.json()["posts"] == api.feed(**question)["posts"]
    assert answer.headers["cache-control"] == "no-store"


def test_the_own_feed_omits_posts_of_users_that_the_caller_blocks(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    by_alice, by_bob = api.ready(alice)["id"], api.ready(bob)["id"]
    block(api, bob, alice)
    api.eventually(lambda: own_feed_ids(api, bob, creator=alice), [])
    newest = own_feed_ids(api, bob, sort="new", limit=100)
    assert by_bob in newest
    assert by_alice not in newest
    # The blocked user still sees the other's posts.
    assert own_feed_ids(api, alice, creator=bob) == [by_bob]
    unblock(api, bob, alice)
    api.eventually(lambda: own_feed_ids(api, bob, creator=alice), [by_alice])


def test_the_own_feed_omits_posts_that_the_caller_reported_also_after_a_decision(
    api: Api,
) -> None:
    alice, bob = someone("alice"), someone("bob")
    reported, other = api.ready(alice), api.ready(alice)
    report(api, bob, post_subject(reported))
    api.eventually(lambda: own_feed_ids(api, bob, creator=alice), [other["id"]])
    decide(api, "dismiss", post_subject(reported))
    api.eventually(lambda: own_feed_ids(api, bob, creator=alice), [other["id"]])
    both = [other["id"], reported["id"]]
    assert own_feed_ids(api, someone("carol"), creator=alice) == both


def test_a_report_of_a_comment_does_not_remove_its_post(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = api.ready(alice)
    comment = api.comment(post["id"], someone("carol"))
    report(api, bob, comment_subject(comment))
    api.eventually(lambda: api.total(post["id"]), 1)
    (shown,) = walk(api, "/me/feed", bob, creator=alice)
    assert shown["latest_comments"] == [comment]


def test_the_own_feed_omits_comments_of_blocked_users_and_counts_them(api: Api) -> None:
    alice, bob, carol, dave = (someone(name) for name in ("alice", "bob", "carol", "dave"))
    post = api.ready(alice)
    first, _, last = (api.comment(post["id"], user) for user in (dave, carol, dave))
    api.eventually(lambda: api.total(post["id"]), 3)
    block(api, bob, carol)

    def shown(comments: int) -> list[tuple[int, list[Item]]]:
        posts = walk(api, "/me/feed", bob, creator=alice, comments=comments)
        return [(item["total_comments"], item["latest_comments"]) for item in posts]

    api.eventually(lambda: shown(3), [(3, [last, first])])
    assert shown(1) == [(3, [last])]
    assert len(api.latest(post["id"])) == 3


def test_shared_lists_are_the_same_for_a_caller_who_blocks(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = api.ready(alice)
    api.comment(post["id"], alice)
    api.eventually(lambda: api.total(post["id"]), 1)
    block(api, bob, alice)
    report(api, bob, post_subject(post))
    api.eventually(lambda: own_feed_ids(api, bob, creator=alice), [])
    for path in (f"/posts?creator={alice}", f"/posts/{post['id']}/comments"):
        assert api.get(path, bob).content == api.get(path).content


def test_a_page_may_be_shorter_and_only_next_ends_the_own_feed(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    posts = [api.ready(alice) for _ in range(5)]
    for reported in (posts[4], posts[3], posts[1]):  # the first page's two, and one more
        report(api, bob, post_subject(reported))
    expected = [posts[2]["id"], posts[0]["id"]]
    api.eventually(lambda: own_feed_ids(api, bob, creator=alice), expected)
    walked = [
        [post["id"] for post in items(page)]
        for page in pages(api, "/me/feed", bob, creator=alice, sort="new", limit=2)
    ]
    assert all(len(page) <= 2 for page in walked)
    assert [post_id for page in walked for post_id in page] == expected


@pytest.mark.parametrize("sort", ["top", "new"])
def test_the_link_header_leads_through_the_own_feed(api: Api, sort: str) -> None:
    alice, bob = someone("alice"), someone("bob")
    ids = [api.ready(alice)["id"] for _ in range(5)]
    walked, path = [], f"/me/feed?creator={alice}&sort={sort}&limit=2"
    while path:
        answer = api.get(path, bob)
        walked += [post["id"] for post in answer.json()["posts"]]
        match = re.fullmatch(r'<(/me/feed\?.+)>; rel="next"', answer.headers.get("link", ""))
        assert bool(match) == bool(answer.json()["next"])
        path = match[1] if match else ""
    assert walked == ids[::-1]


@pytest.mark.same_code("rules of a query")
@pytest.mark.parametrize(
    "question",
    [
        *({"limit": "0"}, {"limit": "101"}, {"limit": "ten"}),
        *({"comments": "-1"}, {"comments": "11"}, {"sort": "best"}),
    ],
    ids=str,
)
def test_the_own_feeds_parameters_are_those_of_the_feed(api: Api, question: dict[str, str]) -> None:
    answer = api.get("/me/feed", someone("bob"), params=question)
    assert fields(assert_problem(answer, 422, "validation_failed")) == set(question)


def test_the_own_feeds_cursor_carries_its_sort(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    for _ in range(2):
        api.ready(alice)
    question = {"creator": alice, "limit": 1}
    cursor = api.get("/me/feed", bob, params=question).json()["next"]
    for changes in ({"sort": "new"}, {"creator": bob}):
        answer = api.get("/me/feed", bob, params={**question, **changes, "cursor": cursor})
        assert_problem(answer, 400, "invalid_cursor")
