"""`--review all`: a post is shown when a decision has published it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import api as editions
from support import samples
from support.api import Api, assert_problem, someone
from support.moderation import (
    ADMIN,
    Item,
    actions,
    comment_status,
    decide,
    delete_account,
    entry_of,
    feed_ids,
    kinds,
    new_key,
    post_subject,
    queue,
    report,
    reserve,
    send_decision,
    send_report,
    status_as,
    walk,
)
from support.servers import AWS, LOCAL, refused, running

IMAGE = samples.from_phone(6, 300, 200)
PIECE = {
    "tus-resumable": "1.0.0",
    "content-type": "application/offset+octet-stream",
    "upload-offset": "0",
}


@pytest.fixture(scope="module", params=["local", "aws"])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server of each edition that reviews all posts."""
    data_dir = str(tmp_path_factory.mktemp("data"))
    commands = {
        "local": (LOCAL, ("--data-dir", data_dir, "--review", "all", "--admins", ADMIN)),
        "aws": (AWS, ("Review=all", f"Admins={ADMIN}", "WritesPerMinute=0", "UploadsUnderWay=0")),
    }
    command, flags = commands[request.param]
    edition = getattr(editions, request.param.upper())
    with running(command, *flags) as server, Api(server.url, edition) as running_api:
        yield running_api


def in_review(api: Api, user: str, caption: str = "") -> Item:
    """A post in review, as its creator sees it."""
    post = api.finished(user, caption=caption)
    assert post["status"] == "in_review", post
    return post


def publish(api: Api, post: Item) -> Item:
    return decide(api, "publish", post_subject(post))


def test_a_post_whose_image_is_ready_is_in_review(api: Api) -> None:
    alice = someone("alice")
    post = in_review(api, alice, caption="mine")
    assert post["caption"] == "mine"
    assert post["image"]["url"] == f"/me/images/{post['id']}/600.jpg"
    assert post["image"]["large"]["url"] == f"/me/images/{post['id']}/1600.jpg"
    assert "failure" not in post
    assert not post.get("moderation")
    answer = api.get(f"/posts/{post['id']}", alice)
    assert answer.headers["cache-control"] == "private, no-store"


def test_it_has_the_visibility_of_a_hidden_post(api: Api) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = in_review(api, alice)
    assert [status_as(api, post, user) for user in (None, bob)] == [404, 404]
    seen_by_admin = api.get(f"/posts/{post['id']}", ADMIN)
    assert seen_by_admin.headers["cache-control"] == "private, no-store"
    assert seen_by_admin.json()["image"]["url"] == f"/moderation/images/{post['id']}/600.jpg"
    assert feed_ids(api, creator=alice) == []
    assert walk(api, "/me/feed", alice, creator=alice) == []
    for user in (None, alice, ADMIN):
        comments = api.get(f"/posts/{post['id']}/comments", user)
        assert_problem(comments, 404, "post_not_found")
    assert [comment_status(api, post, user) for user in (bob, alice, ADMIN)] == [404, 409, 409]
    assert_problem(send_report(api, bob, post_subject(post)), 404, "post_not_found")


@pytest.mark.parametrize("rendition", ["600", "1600"])
def test_its_image_is_for_its_creator_and_admins(api: Api, rendition: str) -> None:
    alice, bob = someone("alice"), someone("bob")
    name = f"{in_review(api, alice)['id']}/{rendition}.jpg"
    api.assert_no_image(f"/images/{name}")
    for path, user in ((f"/me/images/{name}", alice), (f"/moderation/images/{name}", ADMIN)):
        assert samples.opened(api.get(path, user).content).format == "JPEG"
    assert_problem(api.get(f"/me/images/{name}", bob), 404, "image_not_found")
    assert_problem(api.get(f"/moderation/images/{name}", bob), 403, "admins_only")
    api.assert_identity_required(api.get(f"/me/images/{name}"))


def test_its_creator_finds_it_among_their_posts_and_keeps_the_original(api: Api) -> None:
    alice = someone("alice")
    post = api.finished(alice, IMAGE)
    api.eventually(lambda: walk(api, "/me/posts", alice, status="in_review"), [post])
    assert walk(api, "/me/posts", alice, status="unfinished") == []
    assert api.get(f"/posts/{post['id']}/original", alice).content == IMAGE
    assert api.get(f"/posts/{post['id']}/original", ADMIN).status_code in {403, 404}


@pytest.mark.parametrize("way", ["put", "tus"])
def test_each_way_of_uploading_leads_to_the_review(api: Api, way: str) -> None:
    alice = someone("alice")
    reserved = reserve(api, alice, len(IMAGE)).json()
    upload = reserved["upload"]
    if way == "put":
        put = upload["put"]
        assert api.http.put(put["url"], content=IMAGE, headers=put["headers"]).is_success
    else:
        sent = api.send("PATCH", upload["tus"], alice, content=IMAGE, headers=PIECE)
        assert sent.status_code == 204
    path = f"/posts/{reserved['id']}"
    api.eventually(lambda: api.processed(path, alice)["status"], "in_review")


def test_the_queue_has_an_entry_for_it(api: Api) -> None:
    alice = someone("alice")
    first, second = in_review(api, alice), in_review(api, alice)
    subjects = [post_subject(first), post_subject(second)]
    api.eventually(lambda: [item["kind"] for item in queue(api, *subjects)], ["review"] * 2)
    entries = queue(api, *subjects)
    assert [post_subject(entry["post"]) for entry in entries] == subjects
    entry = entries[0]
    assert entry["post"]["status"] == "in_review"
    assert entry["post"]["image"]["url"] == f"/moderation/images/{first['id']}/600.jpg"
    assert (entry["reports"], entry["reasons"], entry["latest"]) == (0, {}, [])
    assert (entry["comment"], entry["appeal"], entry["match"]) == (None, None, None)
    assert entry["since"] >= first["created_at"]


def test_publishing_shows_the_post_to_everybody(api: Api) -> None:
    alice = someone("alice")
    post = in_review(api, alice)
    decision = publish(api, post)
    assert (decision["action"], decision["reason"], decision["by"]) == ("publish", None, ADMIN)
    public = api.get(f"/posts/{post['id']}")
    assert public.json()["status"] == "ready"
    assert "no-store" not in public.headers["cache-control"]
    image = public.json()["image"]
    assert image["url"] == f"/images/{post['id']}/600.jpg"
    for url in (image["url"], image["large"]["url"]):
        assert samples.opened(api.get(url).content).format == "JPEG"
    assert api.get(f"/posts/{post['id']}", alice).json() == public.json()
    api.eventually(lambda: feed_ids(api, creator=alice), [post["id"]])
    assert comment_status(api, post, someone("bob")) == 201
    api.eventually(lambda: kinds(api, post_subject(post)), [])


def test_publishing_again_returns_the_decision_in_force(api: Api) -> None:
    post = in_review(api, someone("alice"))
    decision = publish(api, post)
    answer = send_decision(api, "publish", post_subject(post))
    assert (answer.status_code, answer.json()) == (200, decision)
    assert actions(api, post_subject(post)) == ["publish"]


def test_a_replayed_publication_is_made_once(api: Api) -> None:
    post, key = in_review(api, someone("alice")), new_key()
    first, replayed = (
        send_decision(api, "publish", post_subject(post), headers=key) for _ in range(2)
    )
    assert (first.status_code, replayed.status_code) == (201, 201)
    assert replayed.content == first.content
    assert replayed.headers["idempotent-replayed"] == "true"


def test_deleting_ends_the_review(api: Api) -> None:
    alice = someone("alice")
    post = in_review(api, alice)
    decide(api, "delete", post_subject(post))
    assert_problem(api.get(f"/posts/{post['id']}", alice), 404, "post_not_found")
    image = api.get(post["image"]["url"], alice)
    assert_problem(image, 404, "image_not_found")
    api.eventually(lambda: kinds(api, post_subject(post)), [])
    api.eventually(lambda: walk(api, "/me/decisions", alice)[0]["action"], "delete")


def test_a_post_that_its_creator_deletes_leaves_the_queue(api: Api) -> None:
    alice = someone("alice")
    post = in_review(api, alice)
    api.eventually(lambda: kinds(api, post_subject(post)), ["review"])
    assert api.send("DELETE", f"/posts/{post['id']}", alice).status_code == 204
    api.eventually(lambda: kinds(api, post_subject(post)), [])


def test_posts_of_a_deleted_account_leave_the_queue(api: Api) -> None:
    alice = someone("alice")
    post = in_review(api, alice)
    api.eventually(lambda: kinds(api, post_subject(post)), ["review"])
    delete_account(api, alice)
    api.eventually(lambda: kinds(api, post_subject(post)), [])
    api.eventually(lambda: status_as(api, post, ADMIN), 404)


def test_actions_that_do_not_fit_a_review_are_conflicts(api: Api) -> None:
    alice = someone("alice")
    post = in_review(api, alice)
    api.eventually(lambda: kinds(api, post_subject(post)), ["review"])
    for action in ("restore", "dismiss"):
        answer = send_decision(api, action, post_subject(post))
        assert_problem(answer, 409, "decision_conflict")
    assert kinds(api, post_subject(post)) == ["review"]


def test_a_post_without_bytes_cannot_be_published(api: Api) -> None:
    alice = someone("alice")
    subject = post_subject(reserve(api, alice).json())
    answer = send_decision(api, "publish", subject)
    assert_problem(answer, 409, "decision_conflict")
    assert api.get(f"/posts/{subject['post_id']}", alice).json()["status"] == "awaiting_upload"
    assert kinds(api, subject) == []


def test_a_post_whose_image_cannot_be_read_is_failed_and_not_reviewed(api: Api) -> None:
    failed = api.finished(someone("alice"), samples.jpeg()[:300])
    assert failed["failure"]["code"] == "image_unreadable"
    answer = send_decision(api, "publish", post_subject(failed))
    assert_problem(answer, 409, "decision_conflict")
    assert kinds(api, post_subject(failed)) == []


def test_a_published_post_can_be_hidden_and_restoring_needs_no_second_review(api: Api) -> None:
    post = in_review(api, someone("alice"))
    publish(api, post)
    decide(api, "hide", post_subject(post))
    assert status_as(api, post) == 404
    decide(api, "restore", post_subject(post))
    assert api.get(f"/posts/{post['id']}").json()["status"] == "ready"


def test_a_published_post_can_be_reported(api: Api) -> None:
    post = in_review(api, someone("alice"))
    publish(api, post)
    report(api, someone("bob"), post_subject(post))
    assert entry_of(api, post_subject(post), "report")["post"]["status"] == "ready"


def test_an_edit_by_its_creator_keeps_it_in_review(api: Api) -> None:
    alice = someone("alice")
    post = in_review(api, alice)
    edited = api.send("PATCH", f"/posts/{post['id']}", alice, json={"caption": "better"})
    assert (edited.status_code, edited.json()["status"]) == (200, "in_review")
    assert edited.headers["cache-control"] == "private, no-store"
    assert edited.json()["image"]["url"] == f"/me/images/{post['id']}/600.jpg"


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (("--review", "some"), "review"),
        (("--review", "hook"), "review_url"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    tmp_path: Path, flags: tuple[str, ...], name: str
) -> None:
    message = refused("--port", "0", "--data-dir", str(tmp_path / "data"), *flags)
    assert name in message.replace("-", "_")
