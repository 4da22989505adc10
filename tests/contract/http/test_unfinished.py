"""One's own unfinished posts: what their creator needs to go on with them, and nobody else sees."""

from typing import Any
from urllib.parse import parse_qsl

from support import samples
from support.api import Api, assert_problem, fields, someone

IMAGE = samples.from_phone(1, 300, 200)


def reserved(api: Api, user: str) -> dict[str, Any]:
    image = {"size": len(IMAGE), "content_type": "image/jpeg"}
    answer = api.send("POST", "/posts", user, json={"image": image, "caption": "to come"})
    return answer.json()  # type: ignore[no-any-return]


def listed(api: Api, user: str, **question: Any) -> dict[str, Any]:
    answer = api.get("/me/posts", user, params={"status": "unfinished", **question})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()  # type: ignore[no-any-return]


def ids(api: Api, user: str, **question: Any) -> list[str]:
    return [post["id"] for post in listed(api, user, **question)["posts"]]


def test_they_are_listed_newest_first_with_what_is_needed_to_go_on(api: Api) -> None:
    alice = someone("alice")
    first = reserved(api, alice)
    failed = api.finished(alice, samples.jpeg()[:300])
    api.ready(alice)
    api.eventually(lambda: ids(api, alice), [failed["id"], first["id"]])
    shown, awaiting = listed(api, alice)["posts"]
    assert shown == failed
    assert shown["failure"]["code"] == "image_unreadable"
    assert "upload" not in shown
    assert awaiting["caption"] == "to come"
    assert ids(api, someone("bob")) == []


def test_an_upload_goes_on_by_what_the_list_says(api: Api) -> None:
    alice = someone("alice")
    reserved_post = reserved(api, alice)
    api.eventually(lambda: ids(api, alice), [reserved_post["id"]])
    (entry,) = listed(api, alice)["posts"]
    put = entry["upload"]["put"]
    assert api.http.put(put["url"], content=IMAGE, headers=put["headers"]).is_success
    path = f"/posts/{reserved_post['id']}"
    post = api.processed(path, alice)
    assert (post["status"], "upload" in post) == ("ready", False)
    api.eventually(lambda: len(ids(api, alice)), 0)


def test_one_post_says_to_its_creator_how_its_bytes_may_come(api: Api) -> None:
    alice = someone("alice")
    headers = {"tus-resumable": "1.0.0", "upload-length": str(len(IMAGE))}
    path = api.send("POST", "/uploads", alice, headers=headers).headers["location"]
    post = api.get(path.replace("uploads", "posts"), alice).json()
    assert post["upload"]["tus"] == path
    put = post["upload"]["put"]
    assert api.http.put(put["url"], content=IMAGE, headers=put["headers"]).is_success


def test_an_upload_whose_length_nobody_knows_has_no_url_for_a_put(api: Api) -> None:
    alice = someone("alice")
    headers = {"tus-resumable": "1.0.0", "upload-defer-length": "1"}
    path = api.send("POST", "/uploads", alice, headers=headers).headers["location"]
    upload = api.get(path.replace("uploads", "posts"), alice).json()["upload"]
    assert upload == {"tus": path, "put": None}


def test_pages_join(api: Api) -> None:
    alice = someone("alice")
    newest_first = [reserved(api, alice)["id"] for _ in range(5)][::-1]
    api.eventually(lambda: ids(api, alice), newest_first)
    page = listed(api, alice, limit=2)
    walked = [post["id"] for post in page["posts"]]
    while page["next"]:
        page = listed(api, alice, limit=2, cursor=page["next"])
        walked += [post["id"] for post in page["posts"]]
    assert walked == newest_first


def test_nobody_has_none_and_a_cursor_is_its_lists_own(api: Api) -> None:
    api.assert_identity_required(api.get("/me/posts", params={"status": "unfinished"}))
    alice = someone("alice")
    wrong = api.get("/me/posts", alice, params={"status": "lost"})
    assert fields(assert_problem(wrong, 422, "validation_failed")) == {"status"}
    for _ in range(2):
        reserved(api, alice)
    api.eventually(lambda: len(ids(api, alice)), 2)
    cursor = listed(api, alice, limit=1)["next"]
    assert_problem(api.get("/posts", params={"cursor": cursor}), 400, "invalid_cursor")
    other = api.get("/me/posts", someone("bob"), params={"status": "unfinished", "cursor": cursor})
    assert_problem(other, 400, "invalid_cursor")


def test_their_former_path_leads_to_the_new_one_for_every_caller(api: Api) -> None:
    query = {"status": "unfinished", "limit": "3", "creator": "zoë & co"}
    for caller in (None, someone("alice")):
        moved = api.get("/posts", caller, params=query)
        assert moved.status_code == 308
        path, _, sent = moved.headers["location"].partition("?")
        assert path.endswith("/me/posts")
        assert dict(parse_qsl(sent)) == query


def test_all_own_posts_are_listed_by_their_status(api: Api) -> None:
    alice = someone("alice")
    ready, awaiting = api.ready(alice), reserved(api, alice)

    def listed_ids(**status: str) -> list[str]:
        answer = api.get("/me/posts", alice, params=status)
        assert answer.headers["cache-control"] == "no-store"
        return [post["id"] for post in answer.json()["posts"]]

    api.eventually(listed_ids, [awaiting["id"], ready["id"]])
    api.eventually(lambda: listed_ids(status="ready"), [ready["id"]])
    api.eventually(lambda: listed_ids(status="awaiting_upload"), [awaiting["id"]])
    api.eventually(lambda: listed_ids(status="unfinished"), [awaiting["id"]])
    assert listed_ids(status="hidden") == []
