"""Comments: adding, listing, editing, deleting, and the counts that follow."""

import json
from base64 import b64encode
from typing import Any

import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone

UNKNOWN = "01HZZZZZZZZZZZZZZZZZZZZZZZ"


def test_a_comment_says_where_it_is_and_counts(api: Api) -> None:
    bob, post = someone("bob"), api.ready(someone())
    answer = api.send("POST", f"/posts/{post['id']}/comments", bob, json={"content": "  Nice!\n "})
    assert answer.status_code == 201
    comment = answer.json()
    assert answer.headers["location"] == f"/posts/{post['id']}/comments/{comment['id']}"
    assert comment == {
        "id": comment["id"],
        "post_id": post["id"],
        "creator": bob,
        "creator_name": bob,
        "content": "Nice!",
        "created_at": comment["created_at"],
        "edited_at": None,
    }
    api.eventually(lambda: api.total(post["id"]), 1)
    api.eventually(lambda: api.latest(post["id"]), [comment])


def test_the_former_path_does_the_same(api: Api) -> None:
    post = api.ready(someone())
    answer = api.send(
        "POST", "/comments", someone(), json={"post_id": post["id"], "content": "as ever"}
    )
    assert answer.status_code == 201
    api.eventually(lambda: api.latest(post["id"]), [answer.json()])


def test_comments_are_listed_newest_first_in_pages(api: Api) -> None:
    post = api.ready(someone())
    comments = [api.comment(post["id"], someone(), str(number)) for number in range(7)]
    path, walked, question = f"/posts/{post['id']}/comments", [], {"limit": 3}
    while True:
        page = api.get(path, params=question).json()
        walked += page["comments"]
        if page["next"] is None:
            break
        question = {"limit": 3, "cursor": page["next"]}
    assert walked == comments[::-1]


@pytest.mark.same_code("rules of a text")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "content"),
        ([], "body"),
        ("text", "body"),
        ({"content": ""}, "content"),
        ({"content": " \n\t "}, "content"),
        pytest.param({"content": "\u200b\u200d\ufeff \u2060"}, "content", id="zero-width"),
        pytest.param({"content": "\u202e\u2066\u200f"}, "content", id="bidirectional"),
        pytest.param({"content": "\u3164\u2800\u115f\ufe0f"}, "content", id="drawn as nothing"),
        ({"content": 7}, "content"),
        ({"content": None}, "content"),
        ({"content": "x" * 2001}, "content"),
        ({"content": "a\x00b"}, "content"),
        ({"content": "\x1b\x07\x9f\x7f"}, "content"),
        ({"content": "\x85\u2028\v"}, "content"),
    ],
)
def test_a_comment_that_breaks_a_rule_names_the_field(api: Api, body: object, field: str) -> None:
    post = api.ready(someone())
    answer = api.send("POST", f"/posts/{post['id']}/comments", someone(), json=body)
    assert fields(assert_problem(answer, 422, "validation_failed")) == {field}
    assert api.get(f"/posts/{post['id']}/comments").json()["comments"] == []
    # Counted after the refused one, wherever counts follow their comments: it would be the second.
    comment = api.comment(post["id"], someone())
    api.eventually(lambda: [shown["id"] for shown in api.latest(post["id"])], [comment["id"]])
    assert api.total(post["id"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff",
        pytest.param(b'{"content":"\xff"}', marks=pytest.mark.where(own_gateway=True)),
        b'{"content":"x","n":1e400}',
        b'{"content":' + b"[" * 100_000,
        b'{"a":1}{"b":2}',
    ],
)
def test_a_body_that_is_not_json_is_told_so(api: Api, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = api.send("POST", "/comments", someone(), content=body, headers=headers)
    if body:
        assert_problem(answer, 400, "invalid_json")
    else:
        assert fields(assert_problem(answer, 422, "validation_failed")) == {"body"}


@pytest.mark.same_code("rules of a text")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"content":"a\\ud83d"}', "content"),
        (b'{"post_id":"x","content":{"deep":["\\udc00 "]}}', "content.deep"),
        pytest.param(
            b'{"content":"\xed\xa0\xbd"}', "content", marks=pytest.mark.where(own_gateway=True)
        ),
        (b'{"\\ud83d":1,"content":"x"}', "body"),
    ],
)
def test_half_of_a_surrogate_pair_is_named(api: Api, body: bytes, field: str) -> None:
    headers = {"content-type": "application/json"}
    answer = api.send("POST", "/comments", someone(), content=body, headers=headers)
    problem = assert_problem(answer, 422, "validation_failed")
    assert fields(problem) == {field}
    assert ", half of a surrogate pair;" in problem["errors"][0]["detail"]


def test_json_behind_a_byte_order_mark_is_read(api: Api) -> None:
    alice, post = someone("alice"), api.ready(someone())
    path, image = f"/posts/{post['id']}/comments", {"size": 9, "content_type": "image/jpeg"}
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", path, {"content": "é"}),
        ("POST", "/comments", {"post_id": post["id"], "content": "é"}),
        ("POST", "/posts", {"image": image}),
    ]
    for method, url, body in requests:
        sent = b"\xef\xbb\xbf" + json.dumps(body, ensure_ascii=False).encode()
        headers = {"content-type": "application/json"}
        answer = api.send(method, url, alice, content=sent, headers=headers)
        assert answer.status_code == 201, answer.text
    edit = {"content": b'\xef\xbb\xbf{"content":"b"}', "headers": headers}
    mine = api.comment(post["id"], alice)
    assert api.send("PATCH", f"{path}/{mine['id']}", alice, **edit).json()["content"] == "b"


def test_a_pasted_text_keeps_its_lines_and_loses_what_cannot_be_seen(api: Api) -> None:
    alice, post = someone("alice"), api.ready(someone())
    pasted = "\v1\r\n2\r3\v4\f5\x856\u20287\u2029\u20298\t9\x01\x08\x1b[0m\x7f\x9b \n\x02 "
    cleaned = "1\n2\n3\n4\n5\n6\n7\n\n8\t9[0m"
    comment = api.comment(post["id"], alice, pasted)
    assert comment["content"] == cleaned
    path = f"/posts/{post['id']}/comments/{comment['id']}"
    assert api.send("PATCH", path, alice, json={"content": pasted}).json()["content"] == cleaned
    by_form = api.upload(alice, caption=pasted, alt=pasted).json()
    image = {"size": 9, "content_type": "image/jpeg"}
    order = {"image": image, "caption": pasted, "alt": pasted}
    by_json = api.send("POST", "/posts", alice, json=order).json()
    values = {name: b64encode(pasted.encode()).decode() for name in ("caption", "alt")}
    sent = {
        "tus-resumable": "1.0.0",
        "upload-length": "9",
        "upload-metadata": ",".join(f"{name} {value}" for name, value in values.items()),
    }
    location = api.send("POST", "/uploads", alice, headers=sent).headers["location"]
    by_tus = api.get(location.replace("uploads", "posts"), alice).json()
    for shown in (by_form, by_json, by_tus):
        assert (shown["caption"], shown["alt"]) == (cleaned, cleaned)


def test_characters_are_counted_after_cleaning(api: Api) -> None:
    post = api.ready(someone())
    text = "\r\n" + "x\r\n" * 1000 + "\x1b" * 500
    assert api.comment(post["id"], someone(), text)["content"] == ("x\n" * 1000).strip()


def test_a_body_of_another_type_is_told_what_to_send(api: Api) -> None:
    answer = api.send("POST", "/comments", someone(), data={"content": "x"})
    assert_problem(answer, 415, "unsupported_media_type")


def test_a_huge_body_is_refused(api: Api) -> None:
    answer = api.send("POST", "/comments", someone(), json={"content": "x" * 300_000})
    assert_problem(answer, 413, "body_too_large")


def test_two_thousand_characters_of_any_kind_fit(api: Api) -> None:
    post = api.ready(someone())
    text = "🐟" * 2000
    assert api.comment(post["id"], someone(), text)["content"] == text


def test_line_breaks_tabs_and_quotes_survive(api: Api) -> None:
    post = api.ready(someone())
    text = 'one\n\ttwo "three" \\ </script>'
    comment = api.comment(post["id"], someone(), text)
    assert comment["content"] == text.strip()
    api.eventually(lambda: api.latest(post["id"]), [comment])


def test_only_what_is_there_and_ready_can_be_commented(api: Api) -> None:
    alice = someone("alice")
    body = {"content": "x"}
    for post_id in (UNKNOWN, "nonsense"):
        answer = api.send("POST", f"/posts/{post_id}/comments", alice, json=body)
        assert_problem(answer, 404, "post_not_found")
    failed = api.finished(alice, samples.jpeg()[:700])
    path = f"/posts/{failed['id']}/comments"
    assert_problem(api.send("POST", path, alice, json=body), 409, "post_not_ready")
    assert_problem(api.send("POST", path, someone(), json=body), 404, "post_not_found")
    assert_problem(api.get(path), 404, "post_not_found")


def test_commenting_needs_an_identity(api: Api) -> None:
    post = api.ready(someone())
    answer = api.send("POST", f"/posts/{post['id']}/comments", json={"content": "x"})
    api.assert_identity_required(answer)


def test_the_author_edits_and_the_post_shows_it(api: Api) -> None:
    bob, post = someone("bob"), api.ready(someone())
    comment = api.comment(post["id"], bob, "befor")
    path = f"/posts/{post['id']}/comments/{comment['id']}"
    edited = api.send("PATCH", path, bob, json={"content": "before"}).json()
    assert edited["content"] == "before"
    assert edited["edited_at"] >= comment["created_at"]
    api.eventually(lambda: api.latest(post["id"]), [edited])
    assert api.get(f"/posts/{post['id']}/comments").json()["comments"] == [edited]


def test_nobody_else_edits_a_comment(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    comment = api.comment(post["id"], someone("bob"))
    path = f"/posts/{post['id']}/comments/{comment['id']}"
    for user in (alice, someone(), "root"):
        answer = api.send("PATCH", path, user, json={"content": "x"})
        assert_problem(answer, 403, "not_yours")
    api.assert_identity_required(api.send("PATCH", path, json={"content": "x"}))


@pytest.mark.parametrize("role", ["author", "post creator", "admin"])
def test_author_post_creator_and_admin_delete_a_comment(api: Api, role: str) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = api.ready(alice)
    comment = api.comment(post["id"], bob)
    path = f"/posts/{post['id']}/comments/{comment['id']}"
    assert_problem(api.send("DELETE", path, someone()), 403, "not_yours")
    user = {"author": bob, "post creator": alice, "admin": "root"}[role]
    assert api.send("DELETE", path, user).status_code == 204
    assert api.send("DELETE", path, user).status_code == 204
    assert_problem(api.send("DELETE", path, someone()), 404, "comment_not_found")
    assert_problem(api.send("PATCH", path, bob, json={"content": "x"}), 404, "comment_not_found")
    api.eventually(lambda: api.total(post["id"]), 0)
    api.eventually(lambda: len(api.latest(post["id"])), 0)


def test_latest_comments_are_refilled_after_a_delete(api: Api) -> None:
    bob, post = someone("bob"), api.ready(someone())
    comments = [api.comment(post["id"], bob, str(number)) for number in range(13)]
    api.eventually(lambda: api.latest(post["id"]), comments[:2:-1])
    for deleted in (comments[12], comments[5], comments[0]):
        path = f"/posts/{post['id']}/comments/{deleted['id']}"
        assert api.send("DELETE", path, bob).status_code == 204
    remaining = [
        comment for comment in comments if comment not in (comments[12], comments[5], comments[0])
    ]
    api.eventually(lambda: api.total(post["id"]), 10)
    api.eventually(lambda: api.latest(post["id"]), remaining[::-1])
    assert api.feed(creator=post["creator"])["posts"][0]["latest_comments"] == remaining[:-3:-1]


def test_a_comment_is_found_under_its_own_post_only(api: Api) -> None:
    bob = someone("bob")
    first, other = api.ready(someone()), api.ready(someone())
    comment = api.comment(first["id"], bob)
    path = f"/posts/{other['id']}/comments/{comment['id']}"
    assert_problem(api.send("DELETE", path, bob), 404, "comment_not_found")
    for comment_id in (UNKNOWN, "nonsense"):
        path = f"/posts/{first['id']}/comments/{comment_id}"
        assert_problem(api.send("DELETE", path, bob), 404, "comment_not_found")
