"""Hidden posts: who sees them, their images, and their return."""

import re
from functools import partial
from typing import Any

import pytest

from support import samples
from support.api import Api, assert_problem, someone
from support.moderation import (
    ADMIN,
    Item,
    comment_status,
    comment_subject,
    decide,
    delete_account,
    feed_ids,
    hidden,
    kinds,
    post_subject,
    report,
    status_as,
    walk,
)
from support.waiting import wait_for_value

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def hide(api: Api, post: Item, **members: Any) -> Item:
    return decide(api, "hide", post_subject(post), **members)


def restore(api: Api, post: Item) -> Item:
    return decide(api, "restore", post_subject(post))


def image_path(post: Item, root: str, rendition: str = "600") -> str:
    return f"{root}/{post['id']}/{rendition}.jpg"


def shown_without_moderation(post: Item) -> Item:
    return {name: value for name, value in post.items() if name not in {"moderation", "image"}}


def test_a_hidden_post_is_a_404_to_all_but_its_creator_and_admins(api: Api) -> None:
    alice = someone("alice")
    post = hidden(api, alice)
    for user in (None, someone("bob")):
        assert_problem(api.get(f"/posts/{post['id']}", user), 404, "post_not_found")
    assert [status_as(api, post, user) for user in (alice, ADMIN)] == [200, 200]


def test_a_hidden_post_is_not_confirmed_by_its_etag(api: Api) -> None:
    post = api.ready(someone("alice"))
    condition = {"if-none-match": api.get(f"/posts/{post['id']}").headers["etag"]}
    hide(api, post)
    for etag in (condition, {"if-none-match": "*"}):
        assert_problem(api.get(f"/posts/{post['id']}", headers=etag), 404, "post_not_found")


def test_its_creator_sees_the_decision_and_the_way_to_the_image(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice, samples.jpeg(1200, 800), caption="mine")
    decision = hide(api, post, reason="nudity", text="A breast.")
    answer = api.get(f"/posts/{post['id']}", alice)
    assert answer.headers["cache-control"] == "private, no-store"
    body = answer.json()
    assert body["status"] == "hidden"
    assert body["moderation"] == {
        "id": decision["id"],
        "action": "hide",
        "reason": "nudity",
        "text": "A breast.",
        "created_at": decision["created_at"],
        "appeal": None,
    }
    assert body["image"] == {
        **post["image"],
        "url": image_path(post, "/me/images"),
        "large": {**post["image"]["large"], "url": image_path(post, "/me/images", "1600")},
    }
    assert shown_without_moderation(body) == {
        **shown_without_moderation(post),
        "status": "hidden",
    }


def test_an_admin_sees_it_with_the_images_below_moderation(api: Api) -> None:
    post = hidden(api, someone("alice"))
    answer = api.get(f"/posts/{post['id']}", ADMIN)
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.json()["status"] == "hidden"
    assert answer.json()["image"]["url"] == image_path(post, "/moderation/images")
    large = answer.json()["image"]["large"]
    assert large["url"] == image_path(post, "/moderation/images", "1600")


def test_an_admins_own_hidden_post_is_shown_as_to_its_creator(api: Api) -> None:
    post = hidden(api, ADMIN)
    body = api.get(f"/posts/{post['id']}", ADMIN).json()
    assert body["moderation"]["action"] == "hide"
    assert api.get(body["image"]["url"], ADMIN).status_code == 200


def test_it_is_in_no_feed(api: Api) -> None:
    alice = someone("alice")
    post, other = hidden(api, alice), api.ready(alice)
    for sort in ("top", "new"):
        question = {"creator": alice, "sort": sort}
        api.eventually(partial(feed_ids, api, **question), [other["id"]])
        assert post["id"] not in feed_ids(api, sort=sort, limit=100)
        for user in (alice, ADMIN, someone("bob")):
            posts = api.get("/me/feed", user, params=question).json()["posts"]
            assert [item["id"] for item in posts] == [other["id"]]


def test_it_is_among_its_creators_own_posts(api: Api) -> None:
    alice = someone("alice")
    ready = api.ready(alice)
    post = hidden(api, alice)
    api.eventually(
        lambda: [item["id"] for item in walk(api, "/me/posts", alice, status="hidden")],
        [post["id"]],
    )
    (shown,) = walk(api, "/me/posts", alice, status="hidden")
    assert shown == api.get(f"/posts/{post['id']}", alice).json()
    assert shown["moderation"]["action"] == "hide"
    statuses = [item["status"] for item in walk(api, "/me/posts", alice)]
    assert statuses == ["hidden", "ready"]
    assert [item["id"] for item in walk(api, "/me/posts", alice, status="ready")] == [ready["id"]]
    assert walk(api, "/me/posts", alice, status="unfinished") == []


def test_the_list_of_its_comments_is_a_404_to_every_caller(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    comment = api.comment(post["id"], someone("bob"))
    path = f"/posts/{post['id']}/comments"
    hide(api, post)
    for user in (None, alice, ADMIN, comment["creator"]):
        assert_problem(api.get(path, user), 404, "post_not_found")
    for user in (None, someone("carol")):
        assert api.get(f"{path}/{comment['id']}", user).status_code == 404


def test_it_accepts_no_comment(api: Api) -> None:
    alice = someone("alice")
    post = hidden(api, alice)
    path, body = f"/posts/{post['id']}/comments", {"json": {"content": "hello"}}
    assert_problem(api.send("POST", path, someone("bob"), **body), 404, "post_not_found")
    for user in (alice, ADMIN):
        assert_problem(api.send("POST", path, user, **body), 409, "post_not_ready")
    former = {"json": {"post_id": post["id"], "content": "hello"}}
    assert_problem(api.send("POST", "/comments", someone("bob"), **former), 404, "post_not_found")


def test_restoring_brings_the_post_back_as_it_was(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    for number in range(3):
        api.comment(post["id"], someone("bob"), str(number))
    api.eventually(lambda: api.total(post["id"]), 3)
    path = f"/posts/{post['id']}"
    before, comments = api.get(path).json(), api.get(f"{path}/comments").json()
    image = api.get(post["image"]["url"]).content
    hide(api, post)
    restore(api, post)
    assert api.get(path).json() == before
    assert api.get(path, alice).json() == before
    assert "no-store" not in api.get(path).headers["cache-control"]
    assert api.get(f"{path}/comments").json() == comments
    assert api.get(post["image"]["url"]).content == image
    assert comment_status(api, post, someone("carol")) == 201
    api.eventually(lambda: api.total(post["id"]), 4)


def test_restoring_brings_back_the_rank(api: Api) -> None:
    alice = someone("alice")
    posts = [api.ready(alice) for _ in range(3)]
    for post, number in zip(posts, (1, 2, 0), strict=True):
        for _ in range(number):
            api.comment(post["id"], someone("bob"))
    first, second, third = posts[1]["id"], posts[0]["id"], posts[2]["id"]
    api.eventually(lambda: feed_ids(api, creator=alice), [first, second, third])
    hide(api, posts[1])
    api.eventually(lambda: feed_ids(api, creator=alice), [second, third])
    restore(api, posts[1])
    api.eventually(lambda: feed_ids(api, creator=alice), [first, second, third])
    counts = [post["total_comments"] for post in api.feed(creator=alice)["posts"]]
    assert counts == [2, 1, 0]
    newest = feed_ids(api, creator=alice, sort="new")
    assert newest == sorted(newest, reverse=True)


def test_a_post_can_be_hidden_and_restored_again_and_again(api: Api) -> None:
    post = api.ready(someone("alice"))
    for _ in range(3):
        hide(api, post)
        assert status_as(api, post) == 404
        api.assert_no_image(post["image"]["url"])
        restore(api, post)
        assert status_as(api, post) == 200
        assert api.get(post["image"]["url"]).status_code == 200


def test_comments_of_a_deleted_account_are_not_counted_when_the_post_returns(api: Api) -> None:
    bob, carol = someone("bob"), someone("carol")
    post = api.ready(someone("alice"))
    api.comment(post["id"], bob)
    comment = api.comment(post["id"], carol)
    api.eventually(lambda: api.total(post["id"]), 2)
    hide(api, post)
    delete_account(api, bob)
    restore(api, post)
    path = f"/posts/{post['id']}/comments"
    api.eventually(lambda: api.get(path).json()["comments"], [comment])
    api.eventually(lambda: api.latest(post["id"]), [comment])
    wait_for_value(lambda: api.total(post["id"]), 1)  # counts follow, in both editions


def test_a_comment_can_be_deleted_by_decision_while_its_post_is_hidden(api: Api) -> None:
    post = api.ready(someone("alice"))
    comment = api.comment(post["id"], someone("bob"))
    report(api, someone("carol"), comment_subject(comment))
    api.eventually(lambda: api.total(post["id"]), 1)
    hide(api, post)
    api.eventually(lambda: kinds(api, comment_subject(comment)), ["report"])
    decide(api, "delete", comment_subject(comment))
    restore(api, post)
    api.eventually(lambda: api.total(post["id"]), 0)


@pytest.mark.parametrize("deleter", ["creator", "admin"])
def test_a_hidden_post_can_be_deleted_and_its_images_go(api: Api, deleter: str) -> None:
    alice = someone("alice")
    post = hidden(api, alice)
    user = alice if deleter == "creator" else ADMIN
    assert api.send("DELETE", f"/posts/{post['id']}", user).status_code == 204
    assert_problem(api.get(f"/posts/{post['id']}", alice), 404, "post_not_found")
    for root, viewer in (("/me/images", alice), ("/moderation/images", ADMIN)):
        assert_problem(api.get(image_path(post, root), viewer), 404, "image_not_found")
    api.assert_no_image(post["image"]["url"])


@pytest.mark.parametrize("sort", ["top", "new"])
def test_a_walk_that_began_before_a_post_was_hidden_does_not_show_it(api: Api, sort: str) -> None:
    alice = someone("alice")
    ids = [api.ready(alice)["id"] for _ in range(4)]
    question = {"creator": alice, "sort": sort, "limit": 2}
    page = api.feed(**question)
    assert [post["id"] for post in page["posts"]] == [ids[3], ids[2]]
    hide(api, {"id": ids[1]})
    walked: list[str] = []
    while page["next"]:
        page = api.feed(**question, cursor=page["next"])
        walked += [post["id"] for post in page["posts"]]
    assert walked == [ids[0]]


def test_the_time_of_the_decision_is_that_of_the_log(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    decision = hide(api, post)
    moderation = api.get(f"/posts/{post['id']}", alice).json()["moderation"]
    assert re.fullmatch(TIME, moderation["created_at"])
    assert moderation["created_at"] == decision["created_at"]
