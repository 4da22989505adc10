"""`Idempotency-Key`: a repeated request is answered as the first one was, and done once."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone


def a_key() -> dict[str, str]:
    return {"idempotency-key": secrets.token_hex(8)}


def post_once(api: Api, user: str, key: dict[str, str], **texts: str) -> httpx.Response:
    files = {"image": samples.jpeg()}
    return api.send("POST", "/posts", user, files=files, data=texts, headers=key)


def comment_once(api: Api, path: str, user: str, key: dict[str, str], text: str) -> httpx.Response:
    return api.send("POST", path, user, json={"content": text}, headers=key)


def assert_replayed(first: httpx.Response, again: httpx.Response) -> None:
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.status_code == first.status_code == 201
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]


def assert_comments(api: Api, post_id: str, number: int) -> None:
    """The post has so many, and counts them."""
    assert len(api.get(f"/posts/{post_id}/comments").json()["comments"]) == number
    api.eventually(lambda: api.total(post_id), number)


def test_a_repeated_post_is_one_post(api: Api) -> None:
    alice, key = someone("alice"), a_key()
    first = post_once(api, alice, key, caption="once")
    api.processed(first.headers["location"], alice)
    again = post_once(api, alice, key, caption="once")
    assert_replayed(first, again)
    assert [post["id"] for post in api.feed(creator=alice)["posts"]] == [first.json()["id"]]


def test_a_repeated_comment_is_one_comment(api: Api) -> None:
    post, bob, key = api.ready(someone()), someone("bob"), a_key()
    path = f"/posts/{post['id']}/comments"
    first = comment_once(api, path, bob, key, "once")
    again = comment_once(api, path, bob, key, "once")
    assert_replayed(first, again)
    former_path = {"post_id": post["id"], "content": "once"}
    assert_replayed(first, api.send("POST", "/comments", bob, json=former_path, headers=key))
    assert_comments(api, post["id"], 1)


def test_the_answer_stays_though_the_comment_is_edited(api: Api) -> None:
    post, bob, key = api.ready(someone()), someone("bob"), a_key()
    path = f"/posts/{post['id']}/comments"
    first = comment_once(api, path, bob, key, "once")
    edited = api.send("PATCH", first.headers["location"], bob, json={"content": "twice"})
    assert edited.status_code == 200
    assert_replayed(first, comment_once(api, path, bob, key, "once"))
    assert_comments(api, post["id"], 1)


def test_a_late_repeat_revives_no_comment_that_was_deleted(api: Api) -> None:
    post, bob, key = api.ready(someone()), someone("bob"), a_key()
    path = f"/posts/{post['id']}/comments"
    first = comment_once(api, path, bob, key, "once")
    assert api.send("DELETE", first.headers["location"], bob).status_code == 204
    assert_problem(comment_once(api, path, bob, key, "once"), 410, "gone")
    assert_comments(api, post["id"], 0)


def test_a_late_repeat_revives_no_post_that_was_deleted(api: Api) -> None:
    alice, key = someone("alice"), a_key()
    first = post_once(api, alice, key, caption="once")
    path = first.headers["location"]
    assert api.processed(path, alice)["status"] == "ready"
    assert api.send("DELETE", path, alice).status_code == 204
    assert_problem(post_once(api, alice, key, caption="once"), 410, "gone")
    assert_problem(post_once(api, alice, key, caption="other"), 422, "idempotency_key_reused")
    assert api.feed(creator=alice)["posts"] == []


def begin(api: Api, way: str, user: str, key: dict[str, str]) -> httpx.Response:
    """An upload, by tus or by JSON."""
    if way == "tus":
        headers = {"tus-resumable": "1.0.0", "upload-length": "1000", **key}
        return api.send("POST", "/uploads", user, headers=headers)
    image = {"size": 1000, "content_type": "image/jpeg"}
    return api.send("POST", "/posts", user, json={"image": image}, headers=key)


def id_of(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    return answer.headers["location"].rpartition("/")[2]


@pytest.mark.parametrize("way", ["tus", "json"])
def test_a_key_whose_upload_was_ended_unfinished_begins_another(api: Api, way: str) -> None:
    alice, key = someone("alice"), a_key()
    first = id_of(begin(api, way, alice, key))
    ended = api.send("DELETE", f"/uploads/{first}", alice, headers={"tus-resumable": "1.0.0"})
    assert ended.status_code == 204
    again = begin(api, way, alice, key)
    assert id_of(again) != first
    assert "idempotent-replayed" not in again.headers
    repeated = begin(api, way, alice, key)
    assert id_of(repeated) == id_of(again)
    assert repeated.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("way", ["tus", "json"])
def test_a_late_repeat_begins_no_upload_whose_post_was_deleted(api: Api, way: str) -> None:
    alice, key = someone("alice"), a_key()
    first = id_of(begin(api, way, alice, key))
    assert api.send("DELETE", f"/posts/{first}", alice).status_code == 204
    assert_problem(begin(api, way, alice, key), 410, "gone")


def test_a_key_with_another_request_is_refused(api: Api) -> None:
    alice, key = someone("alice"), a_key()
    first = post_once(api, alice, key, caption="one")
    assert_problem(post_once(api, alice, key, caption="other"), 422, "idempotency_key_reused")
    api.processed(first.headers["location"], alice)
    path = f"{first.headers['location']}/comments"
    assert_problem(comment_once(api, path, alice, key, "x"), 422, "idempotency_key_reused")
    assert_comments(api, first.json()["id"], 0)


def test_a_key_is_each_users_own(api: Api) -> None:
    post, key = api.ready(someone()), a_key()
    path = f"/posts/{post['id']}/comments"
    for user in (someone(), someone()):
        assert "idempotent-replayed" not in comment_once(api, path, user, key, "mine").headers
    assert_comments(api, post["id"], 2)


def test_a_refused_request_leaves_its_key_unused(api: Api) -> None:
    post, bob, key = api.ready(someone()), someone("bob"), a_key()
    path = f"/posts/{post['id']}/comments"
    assert comment_once(api, path, bob, key, "").status_code == 422
    assert comment_once(api, path, bob, key, "now right").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there"])
def test_a_key_that_is_none_is_named(api: Api, key: str) -> None:
    post = api.ready(someone())
    answer = comment_once(
        api, f"/posts/{post['id']}/comments", someone(), {"idempotency-key": key}, "x"
    )
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"Idempotency-Key"}


def test_many_at_once_are_one(api: Api) -> None:
    """Each of them is answered alike, or told to come back; none is done twice."""
    post, bob, key = api.ready(someone()), someone("bob"), a_key()
    path = f"/posts/{post['id']}/comments"

    def ask(_: int) -> httpx.Response:
        with Api(api.url, api.edition) as own:
            return comment_once(own, path, bob, key, "once")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(24)))
    for answer in answers:
        if answer.status_code != 201:
            assert_problem(answer, 409, "request_in_progress")
            assert int(answer.headers["retry-after"]) >= 1
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert_comments(api, post["id"], 1)
