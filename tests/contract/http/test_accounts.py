"""`DELETE /me`: all of a user's data goes, and the name may begin anew."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import samples
from support.api import Api, assert_problem, fields, someone
from support.moderation import (
    ADMIN,
    Item,
    actions,
    add_comment,
    begin_anew,
    comment_subject,
    decide,
    delete_account,
    entry_of,
    feed_ids,
    hidden,
    kinds,
    post_subject,
    queue,
    report,
    reserve,
    send_decision,
    status_as,
    user_subject,
    walk,
)
from support.servers import local_server
from support.shell import Shell
from support.waiting import wait_for_value

TUS = {"tus-resumable": "1.0.0"}


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
    missing = assert_problem(api.send("DELETE", "/me", alice), 422, "validation_failed")
    assert fields(missing) == {"confirm"}
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


def test_deleting_an_account_can_be_repeated(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    for _ in range(2):
        delete_account(api, alice)
    api.eventually(lambda: status_as(api, post), 404)


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
