"""`DELETE /me`: all of a user's data goes, and the name may begin anew."""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, someone
from support.moderation import (
    ADMIN,
    Item,
    actions,
    answer_after_deletion,
    comment_subject,
    decide,
    delete_account,
    entry_of,
    feed_ids,
    hidden,
    kinds,
    new_key,
    post_subject,
    queue,
    report,
    reserve,
    send_decision,
    send_report,
    status_as,
    user_subject,
    walk,
)
from support.servers import local_server
from support.shell import Shell
from support.waiting import wait_for_value

TUS = {"tus-resumable": "1.0.0"}
LISTS = ("/me/posts", "/me/comments", "/me/reports", "/me/blocks")


def add_comment(api: Api, post: Item, user: str, **headers: str) -> httpx.Response:
    path, body = f"/posts/{post['id']}/comments", {"content": "a comment"}
    return api.send("POST", path, user, json=body, headers=headers)


def begin_anew(api: Api, user: str, post: Item) -> Item:
    """The first comment of the name's new account; the end of a test where that takes minutes."""
    if not api.edition.deletes_accounts_soon:
        pytest.skip("the name is free after some minutes: tests/property/test_account_deletions.py")
    answer = answer_after_deletion(lambda: add_comment(api, post, user))
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def problem_code_of(send: Callable[[], httpx.Response]) -> str:
    """The code of a problem; empty for a success."""
    answer = send()
    return "" if answer.is_success else str(answer.json()["code"])


def deleted_post(api: Api) -> Item:
    """A former post of a deleted account, with its content and a comment of another user."""
    alice = someone("alice")
    post = api.ready(alice)
    api.comment(post["id"], someone("bob"))
    delete_account(api, alice)
    return post


def test_deleting_an_account_needs_an_identity(api: Api) -> None:
    bodies: tuple[object, ...] = ({"confirm": "alice"}, {}, [])
    for body in bodies:
        api.assert_identity_required(api.send("DELETE", "/me", json=body))


@pytest.mark.same_code("rules of a body")
@pytest.mark.parametrize(
    "body", [{}, {"confirm": ""}, {"confirm": None}, {"confirm": 7}, {"confirm": "someone else"}]
)
def test_a_missing_or_wrong_confirmation_is_named(api: Api, body: dict[str, Any]) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    problem = assert_problem(api.send("DELETE", "/me", alice, json=body), 422, "validation_failed")
    assert [error["field"] for error in problem["errors"]] == ["confirm"]
    assert status_as(api, post) == 200


def test_without_a_body_nothing_is_deleted(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    assert api.send("DELETE", "/me", alice).status_code in {400, 415, 422}
    assert status_as(api, post) == 200


def test_posts_are_gone_with_their_images_and_comments(api: Api) -> None:
    post = deleted_post(api)
    alice = post["creator"]
    path = f"/posts/{post['id']}"
    for user in (None, alice, ADMIN):
        api.eventually(partial(status_as, api, post, user), 404)
    assert_problem(api.get(f"{path}/comments"), 404, "post_not_found")
    assert api.get(f"{path}/original", alice).status_code in {403, 404}
    api.eventually(lambda: feed_ids(api, creator=alice), [])
    for sort in ("top", "new"):
        assert post["id"] not in feed_ids(api, sort=sort, limit=100)


def test_known_image_urls_end_with_the_deletion(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    delete_account(api, alice)
    begin_anew(api, alice, api.ready(someone("bob")))
    for url in (post["image"]["url"], post["image"]["large"]["url"]):
        api.assert_no_image(url)


@pytest.mark.where(own_files=True)
def test_no_image_is_served_from_the_response_on(api: Api) -> None:
    post = deleted_post(api)
    for url in (post["image"]["url"], post["image"]["large"]["url"]):
        assert_problem(api.get(url), 404, "image_not_found")


def test_posts_in_any_state_are_gone(api: Api) -> None:
    alice = someone("alice")
    upload = reserve(api, alice).json()
    failed = api.finished(alice, samples.jpeg()[:300])
    hidden_post = hidden(api, alice)
    delete_account(api, alice)
    for post in (upload, failed, hidden_post):
        for user in (alice, ADMIN):
            api.eventually(partial(status_as, api, post, user), 404)
    for root, user in (("/me/images", alice), ("/moderation/images", ADMIN)):
        answer = api.get(f"{root}/{hidden_post['id']}/600.jpg", user)
        assert answer.status_code in {403, 404}
    begin_anew(api, alice, api.ready(someone("bob")))
    head = api.send("HEAD", upload["upload"]["tus"], alice, headers=TUS)
    assert head.status_code in {404, 410}
    assert walk(api, "/me/posts", alice) == []


def test_a_signed_url_of_a_deleted_account_makes_no_post(api: Api) -> None:
    alice, image = someone("alice"), samples.jpeg()
    upload = reserve(api, alice, len(image)).json()
    delete_account(api, alice)
    begin_anew(api, alice, api.ready(someone("bob")))
    put = upload["upload"]["put"]
    api.http.put(put["url"], content=image, headers=put["headers"])
    assert status_as(api, upload, alice) == 404


def test_comments_are_gone_and_counts_follow(api: Api) -> None:
    bob, carol = someone("bob"), someone("carol")
    posts = [api.ready(someone("alice")) for _ in range(2)]
    for post in posts:
        mine = [api.comment(post["id"], bob) for _ in range(3)]
        theirs = api.comment(post["id"], carol)
        api.eventually(partial(api.total, post["id"]), 4)
    assert api.send("DELETE", f"/posts/{post['id']}/comments/{mine[0]['id']}", bob).is_success
    delete_account(api, bob)
    path = f"/posts/{post['id']}/comments"
    api.eventually(lambda: api.get(path).json()["comments"], [theirs])
    api.eventually(lambda: api.latest(post["id"]), [theirs])
    assert_problem(api.get(f"{path}/{mine[1]['id']}"), 404, "comment_not_found")
    for post in posts:
        wait_for_value(partial(api.total, post["id"]), 1)
    begin_anew(api, bob, posts[0])
    api.eventually(lambda: [api.total(post["id"]) for post in posts], [2, 1])


def test_comments_beside_the_deletion_leave_exact_counts(api: Api) -> None:
    """Each is accepted or refused; those from before the deletion are gone."""
    bob, post = someone("bob"), api.ready(someone("alice"))
    before = {api.comment(post["id"], bob)["id"] for _ in range(3)}

    def write(number: int) -> int:
        with Api(api.url, api.edition) as own:
            if number == 8:
                delete_account(own, bob)
            return add_comment(own, post, bob).status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(write, range(24))) <= {201, 403}
    path = f"/posts/{post['id']}/comments"

    def listed() -> list[str]:
        return [comment["id"] for comment in walk(api, path, None, limit=100)]

    api.eventually(lambda: before.isdisjoint(listed()), expected=True)
    wait_for_value(lambda: api.total(post["id"]) - len(listed()), 0)
    wait_for_value(
        lambda: {comment["id"] for comment in api.latest(post["id"])} <= set(listed()),
        expected=True,
    )


def test_ranks_follow_the_counts(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    first, second = (api.ready(alice) for _ in range(2))
    for _ in range(2):
        api.comment(first["id"], bob)
    api.comment(second["id"], someone("carol"))
    api.eventually(lambda: feed_ids(api, creator=alice), [first["id"], second["id"]])
    delete_account(api, bob)
    wait_for_value(lambda: feed_ids(api, creator=alice), [second["id"], first["id"]])


def test_older_comments_of_others_take_the_place_in_the_latest(api: Api) -> None:
    bob, carol = someone("bob"), someone("carol")
    post = api.ready(someone("alice"))
    older = [api.comment(post["id"], carol, f"older {number}") for number in range(2)]
    for _ in range(10):
        api.comment(post["id"], bob)
    api.eventually(lambda: api.total(post["id"]), 12)
    delete_account(api, bob)
    wait_for_value(lambda: api.latest(post["id"]), older[::-1])


WRITES: dict[str, Callable[[Api, str, Item], httpx.Response]] = {
    "post": lambda api, user, _: api.upload(user),
    "reservation": lambda api, user, _: reserve(api, user),
    "comment": lambda api, user, post: add_comment(api, post, user),
    "report": lambda api, user, post: send_report(api, user, post_subject(post)),
    "block": lambda api, user, _: api.send("PUT", "/me/blocks/bob", user),
}


@pytest.mark.where(deletes_accounts_soon=True)
@pytest.mark.parametrize("kind", WRITES)
def test_writes_are_refused_until_all_data_is_gone(api: Api, kind: str) -> None:
    """The deletion of little data may have ended before the next request."""
    alice, other = someone("alice"), api.ready(someone("bob"))
    api.ready(alice)
    delete_account(api, alice)
    answer = WRITES[kind](api, alice, other)
    if answer.status_code == 403:
        assert_problem(answer, 403, "account_deleted")
    anew = answer_after_deletion(lambda: WRITES[kind](api, alice, other))
    assert anew.status_code in {200, 201, 204}


@pytest.mark.where(deletes_accounts_soon=True)
def test_a_body_that_outlasts_the_deletion_makes_no_post(api: Api) -> None:
    """Its request was identified before the deletion, and ends when the name has begun anew."""
    alice, address = someone("alice"), urlsplit(api.url)
    part = 'form-data; name="image"; filename="photo.jpg"'
    body = f"--b\r\nContent-Disposition: {part}\r\n\r\n".encode() + samples.jpeg()
    body += b"\r\n--b--\r\n"
    head = (
        f"POST /posts HTTP/1.1\r\nHost: {address.netloc}\r\nuser-id: {alice}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(head.encode() + body[:500])
        delete_account(api, alice)
        answer = answer_after_deletion(lambda: api.send("PUT", "/me/blocks/nobody", alice))
        assert answer.status_code == 204
        connection.sendall(body[500:])
        answered = connection.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 403")
    assert b"account_deleted" in answered
    assert api.get("/me/posts", alice).json()["posts"] == []
    assert api.ready(alice)["creator"] == alice


def test_deleting_an_account_can_be_repeated(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    for _ in range(2):
        delete_account(api, alice)
    api.eventually(lambda: status_as(api, post), 404)


def test_a_user_without_any_data_can_be_deleted(api: Api) -> None:
    bob = someone("bob")
    delete_account(api, bob)
    begin_anew(api, bob, api.ready(someone("alice")))


def test_the_same_name_begins_anew_with_nothing(api: Api) -> None:
    bob = someone("bob")
    post = api.ready(someone("alice"))
    comment = api.comment(post["id"], bob)
    mine = api.ready(bob)
    report(api, bob, post_subject(post))
    assert api.send("PUT", "/me/blocks/mallory", bob).status_code == 204
    hidden(api, bob)
    delete_account(api, bob)
    anew = begin_anew(api, bob, post)
    assert anew["id"] != comment["id"]
    api.eventually(lambda: [len(walk(api, path, bob)) for path in LISTS], [0, 1, 0, 0])
    assert status_as(api, mine, bob) == 404
    # A report of the former account hides no post from the new one.
    posts = walk(api, "/me/feed", bob, creator=post["creator"])
    assert [item["id"] for item in posts] == [post["id"]]
    again = api.ready(bob)
    assert [item["id"] for item in walk(api, "/me/posts", bob)] == [again["id"]]


def test_a_block_ends_with_the_account_that_made_it(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    by_bob = api.ready(bob)
    assert api.send("PUT", f"/me/blocks/{bob}", alice).status_code == 204
    api.eventually(lambda: add_comment(api, by_bob, alice).status_code, 403)
    delete_account(api, alice)
    begin_anew(api, alice, by_bob)


@pytest.mark.where(deletes_accounts_soon=True)
def test_a_late_retry_returns_410_and_revives_nothing(api: Api) -> None:
    bob = someone("bob")
    post = api.ready(someone("alice"))
    comment_key, post_key, upload_key = (new_key() for _ in range(3))
    files = {"image": samples.jpeg()}
    requests: list[Callable[[], httpx.Response]] = [
        lambda: add_comment(api, post, bob, **comment_key),
        lambda: api.send("POST", "/posts", bob, files=files, headers=post_key),
        lambda: reserve(api, bob, headers=upload_key),
    ]
    for send in requests:
        assert send().status_code == 201
    delete_account(api, bob)
    for send in requests:
        wait_for_value(partial(problem_code_of, send), "gone")
    assert walk(api, "/me/posts", bob) == []
    assert api.get(f"/posts/{post['id']}/comments").json()["comments"] == []
    wait_for_value(lambda: api.total(post["id"]), 0)


@pytest.mark.where(deletes_accounts_soon=True)
def test_a_late_retry_of_a_report_returns_410(api: Api) -> None:
    bob, key = someone("bob"), new_key()
    subject = post_subject(api.ready(someone("alice")))
    retry = partial(send_report, api, bob, subject, headers=key)
    assert retry().status_code == 201
    delete_account(api, bob)
    wait_for_value(partial(problem_code_of, retry), "gone")
    assert walk(api, "/me/reports", bob) == []


def test_texts_of_reports_are_deleted_and_the_entry_stays(api: Api) -> None:
    bob = someone("bob")
    subject = post_subject(api.ready(someone("alice")))
    report(api, bob, subject, "spam", text="personal words")
    report(api, someone("carol"), subject, "hate", text="other words")
    api.eventually(lambda: [entry["reports"] for entry in queue(api, subject)], [2])
    delete_account(api, bob)

    def texts() -> list[str]:
        entry = entry_of(api, subject, "report")
        return [item["text"] for item in entry["latest"] if item["text"]]

    api.eventually(texts, ["other words"])


def test_entries_about_a_deleted_account_leave_the_queue(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    comment = api.comment(api.ready(someone("dave"))["id"], alice)
    subjects = (post_subject(post), comment_subject(comment))
    for subject in subjects:
        report(api, someone("bob"), subject)
    api.eventually(lambda: len(queue(api, *subjects)), 2)
    delete_account(api, alice)
    api.eventually(lambda: queue(api, *subjects), [])


def test_the_log_keeps_its_ids(api: Api) -> None:
    alice = someone("alice")
    post = hidden(api, alice)
    api.eventually(lambda: actions(api, post_subject(post)), ["hide"])
    delete_account(api, alice)
    begin_anew(api, alice, api.ready(someone("bob")))
    assert actions(api, post_subject(post)) == ["hide"]


def test_an_admin_deletes_an_account_by_a_decision(api: Api) -> None:
    bob = someone("bob")
    post = api.ready(someone("alice"))
    mine, comment = api.ready(bob), api.comment(post["id"], bob)
    api.eventually(lambda: api.total(post["id"]), 1)
    decision = decide(api, "delete", user_subject(bob))
    assert decision["user"] == bob
    api.eventually(lambda: status_as(api, mine, bob), 404)
    path = f"/posts/{post['id']}/comments/{comment['id']}"
    api.eventually(lambda: api.get(path).status_code, 404)
    wait_for_value(lambda: api.total(post["id"]), 0)
    api.eventually(lambda: actions(api, user_subject(bob)), ["delete"])
    begin_anew(api, bob, post)


def test_repeating_the_deletion_of_an_account_while_it_runs_adds_nothing(api: Api) -> None:
    """Once all data is gone, the name may begin anew, and a deletion is a new decision."""
    bob, post = someone("bob"), api.ready(someone("alice"))
    api.ready(bob)
    decision = decide(api, "delete", user_subject(bob))
    answer = send_decision(api, "delete", user_subject(bob))
    if answer.status_code == 200:
        assert answer.json() == decision
        api.eventually(lambda: actions(api, user_subject(bob)), ["delete"])
    else:
        assert answer.status_code == 201
        assert answer.json()["id"] != decision["id"]
    begin_anew(api, bob, post)


def test_entries_of_reports_by_a_deleted_account_can_be_closed(api: Api) -> None:
    bob = someone("bob")
    subject = post_subject(api.ready(someone("alice")))
    report(api, bob, subject)
    api.eventually(lambda: kinds(api, subject), ["report"])
    delete_account(api, bob)
    begin_anew(api, bob, api.ready(someone("carol")))
    if kinds(api, subject):
        decide(api, "dismiss", subject)
    api.eventually(lambda: kinds(api, subject), [])


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Commands on the data folder `data`."""
    shell = Shell("http://127.0.0.1:1", tmp_path / "state")
    shell.variables["IMAGE_POSTER_DATA_DIR"] = str(tmp_path / "data")
    return shell


def test_tokens_of_the_services_own_key_are_refused_from_the_response_on(
    tmp_path: Path, shell: Shell
) -> None:
    """Tokens are of the one-machine edition."""
    with local_server(tmp_path / "data", "--auth", "jwt") as server:
        alice, bob = (
            {"authorization": f"Bearer {shell.run('token', name).stdout.strip()}"}
            for name in ("alice", "bob")
        )
        url = f"{server.url}/me"
        body = {"confirm": "alice"}
        assert httpx.request("DELETE", url, json=body, headers=alice).status_code == 202
        assert_problem(httpx.get(f"{url}/posts", headers=alice), 401, "identity_required")
        assert httpx.get(f"{url}/posts", headers=bob).status_code == 200
