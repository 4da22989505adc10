"""`/posts` and `/posts/{id}`: creating, reading, editing, deleting."""

import re

import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone

UNKNOWN = "01HZZZZZZZZZZZZZZZZZZZZZZZ"


def test_a_new_post_is_processing_and_says_where_it_is(api: Api) -> None:
    alice = someone("alice")
    answer = api.upload(alice, caption="  At the lake \r\n in June ", alt="A lake")
    assert answer.status_code == 201
    post = answer.json()
    assert answer.headers["location"] == f"/posts/{post['id']}"
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", post["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", post["created_at"])
    assert post == {
        "id": post["id"],
        "status": "processing",
        "caption": "At the lake \n in June",
        "alt": "A lake",
        "creator": alice,
        "creator_name": alice,
        "created_at": post["created_at"],
        "edited_at": None,
        "image": None,
        "total_comments": 0,
        "latest_comments": [],
    }


def test_waiting_gives_the_ready_post_with_its_image(api: Api) -> None:
    post = api.ready(someone(), samples.jpeg(1200, 800))
    image = post["image"]
    assert image["url"] == f"/images/{post['id']}/600.jpg"
    assert (image["width"], image["height"]) == (600, 600)
    assert image["large"] == {
        "url": f"/images/{post['id']}/1600.jpg",
        "width": 1200,
        "height": 800,
    }
    assert image["placeholder"]
    assert "failure" not in post


def test_a_post_that_is_not_ready_is_there_for_its_creator_only(api: Api) -> None:
    alice = someone("alice")
    failed = api.finished(alice, samples.jpeg()[:600])
    assert failed["status"] == "failed"
    assert api.get(f"/posts/{failed['id']}", alice).status_code == 200
    assert_problem(api.get(f"/posts/{failed['id']}", someone()), 404, "post_not_found")
    assert_problem(api.get(f"/posts/{failed['id']}"), 404, "post_not_found")


def test_a_ready_post_is_there_for_everyone(api: Api) -> None:
    post = api.ready(someone())
    assert api.get(f"/posts/{post['id']}").json()["id"] == post["id"]


@pytest.mark.parametrize("post_id", [UNKNOWN, "nonsense", "..%5C..%5Cetc", UNKNOWN.lower(), "%00"])
def test_an_unknown_post_is_not_found(api: Api, post_id: str) -> None:
    assert_problem(api.get(f"/posts/{post_id}"), 404, "post_not_found")


@pytest.mark.same_code("rules of a query")
@pytest.mark.parametrize("wait", ["-1", "21", "soon", "nan"])
def test_a_wait_outside_the_limits_is_named(api: Api, wait: str) -> None:
    answer = api.get(f"/posts/{UNKNOWN}", params={"wait": wait})
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"wait"}


def test_creating_needs_an_identity(api: Api) -> None:
    api.assert_identity_required(api.upload(None))


@pytest.mark.where(one_machine=True)
@pytest.mark.parametrize("user", ["", "x" * 129, ".", ".."])
def test_an_identity_must_be_a_printable_name(api: Api, user: str) -> None:
    answer = api.get("/limits", headers={"user-id": user})
    assert answer.status_code == 200
    answer = api.send("DELETE", f"/posts/{UNKNOWN}", headers={"user-id": user})
    api.assert_identity_required(answer)


def test_a_name_may_have_any_letters(api: Api) -> None:
    name = someone("Zoë-平")
    files = {"image": samples.jpeg()}
    answer = api.http.post("/posts", headers={b"user-id": name.encode()}, files=files)
    assert answer.json()["creator"] == name


def test_the_creator_edits_caption_and_alt(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice, caption="before", alt="kept")
    edited = api.send("PATCH", f"/posts/{post['id']}", alice, json={"caption": " after "})
    assert edited.status_code == 200
    assert edited.json()["caption"] == "after"
    assert edited.json()["alt"] == "kept"
    assert edited.json()["edited_at"] >= post["created_at"]
    assert api.get(f"/posts/{post['id']}").json() == edited.json()
    assert api.feed(creator=alice)["posts"] == [edited.json()]


def test_a_caption_can_be_taken_away(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice, caption="before")
    edited = api.send("PATCH", f"/posts/{post['id']}", alice, json={"caption": ""})
    assert edited.json()["caption"] == ""


def test_somebody_else_may_not_edit_or_delete_but_an_admin_may(api: Api) -> None:
    post = api.ready(someone("alice"))
    path, mallory = f"/posts/{post['id']}", someone("mallory")
    assert_problem(api.send("PATCH", path, mallory, json={"alt": "x"}), 403, "not_yours")
    assert_problem(api.send("DELETE", path, mallory), 403, "not_yours")
    assert api.send("PATCH", path, "root", json={"alt": "x"}).json()["alt"] == "x"
    assert api.send("DELETE", path, "root").status_code == 204
    assert_problem(api.get(path), 404, "post_not_found")


def test_writes_need_an_identity(api: Api) -> None:
    path = f"/posts/{api.ready(someone())['id']}"
    api.assert_identity_required(api.send("PATCH", path, json={"alt": "x"}))
    api.assert_identity_required(api.send("DELETE", path))


@pytest.mark.same_code("rules of a text")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ([], "body"),
        ({"caption": 1}, "caption"),
        ({"caption": "x" * 5001}, "caption"),
        ({"alt": "x" * 1501}, "alt"),
        ({"alt": "nul\x00"}, "alt"),
    ],
)
def test_an_edit_that_breaks_a_rule_names_the_field(api: Api, body: object, field: str) -> None:
    alice = someone("alice")
    path = f"/posts/{api.ready(alice)['id']}"
    answer = api.send("PATCH", path, alice, json=body)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {field}


def test_characters_are_counted_not_bytes(api: Api) -> None:
    alice = someone("alice")
    path = f"/posts/{api.ready(alice)['id']}"
    assert api.send("PATCH", path, alice, json={"caption": "🌊" * 5000}).status_code == 200


def test_deleting_removes_everything_and_can_be_repeated(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = api.ready(alice)
    api.comment(post["id"], bob)
    path = f"/posts/{post['id']}"
    assert api.send("DELETE", path, alice).status_code == 204
    assert_problem(api.get(path, alice), 404, "post_not_found")
    assert_problem(api.get(f"{path}/comments"), 404, "post_not_found")
    assert_problem(api.get(f"{path}/original", alice), 404, "post_not_found")
    api.assert_no_image(post["image"]["url"])
    api.assert_no_image(post["image"]["large"]["url"])
    assert api.feed(creator=alice)["posts"] == []
    assert api.send("DELETE", path, alice).status_code == 204
    assert_problem(api.send("DELETE", path, bob), 404, "post_not_found")


def test_a_post_can_be_deleted_while_it_is_processing(api: Api) -> None:
    alice = someone("alice")
    post = api.upload(alice, samples.jpeg(1900, 1900)).json()
    assert api.send("DELETE", f"/posts/{post['id']}", alice).status_code == 204
    assert_problem(api.get(f"/posts/{post['id']}", alice), 404, "post_not_found")
