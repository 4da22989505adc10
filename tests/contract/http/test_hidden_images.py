"""Images of posts that are not public: who gets them, and by which URL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import samples
from support.api import LOCAL, Api, assert_problem, someone
from support.moderation import (
    ADMIN,
    Item,
    appeal,
    decide,
    hidden,
    post_subject,
)
from support.servers import local_server

RENDITIONS = ("600", "1600")


def hide(api: Api, post: Item, **members: Any) -> Item:
    return decide(api, "hide", post_subject(post), **members)


def image_path(post: Item, root: str, rendition: str = "600") -> str:
    return f"{root}/{post['id']}/{rendition}.jpg"


def test_its_public_images_are_gone_for_every_caller_when_the_decision_is_answered(
    api: Api,
) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    urls = (post["image"]["url"], post["image"]["large"]["url"])
    for url in urls:
        assert api.get(url).status_code == 200  # the CDN has it now
    hide(api, post)
    for url in urls:
        api.assert_no_image(url)
        for user in (alice, ADMIN):
            assert api.get(url, user).status_code in {403, 404}
        assert api.send("HEAD", url).status_code in {403, 404}


@pytest.mark.where(own_files=True)
def test_its_public_image_is_not_confirmed_by_its_etag(api: Api) -> None:
    post = api.ready(someone("alice"))
    url = post["image"]["url"]
    etag = api.get(url).headers["etag"]
    hide(api, post)
    for value in (etag, "*"):
        answer = api.get(url, headers={"if-none-match": value})
        assert_problem(answer, 404, "image_not_found")


@pytest.mark.parametrize("rendition", RENDITIONS)
def test_its_image_is_for_its_creator_below_me_and_for_admins_below_moderation(
    api: Api, rendition: str
) -> None:
    alice, bob = someone("alice"), someone("bob")
    post = api.ready(alice, samples.jpeg(700, 500))
    content = api.get(image_path(post, "/images", rendition)).content
    hide(api, post)
    own, moderated = (
        image_path(post, root, rendition) for root in ("/me/images", "/moderation/images")
    )
    for path, user in ((own, alice), (moderated, ADMIN)):
        answer = api.get(path, user)
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == "image/jpeg"
    for user in (bob, ADMIN):
        assert_problem(api.get(own, user), 404, "image_not_found")
    for user in (bob, alice):
        assert_problem(api.get(moderated, user), 403, "admins_only")
    for path in (own, moderated):
        api.assert_identity_required(api.get(path))


def test_no_cache_may_keep_an_image_that_is_not_public(api: Api) -> None:
    alice = someone("alice")
    post = hidden(api, alice)
    for root, user in (("/me/images", alice), ("/moderation/images", ADMIN)):
        answer = api.http.get(image_path(post, root), headers={"user-id": user})
        assert answer.status_code == (200 if api.edition.own_files else 302)
        assert answer.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize("path", ["/me/images/{}/601.jpg", "/me/images/nonsense/600.jpg"])
def test_an_image_that_does_not_exist_is_not_found(api: Api, path: str) -> None:
    alice = someone("alice")
    post = hidden(api, alice)
    assert_problem(api.get(path.format(post["id"]), alice), 404, "image_not_found")
    moderated = path.replace("/me/", "/moderation/").format(post["id"])
    assert_problem(api.get(moderated, ADMIN), 404, "image_not_found")


def test_admins_never_get_originals(api: Api) -> None:
    alice = someone("alice")
    image = samples.from_phone(6)
    post = api.ready(alice, image)
    path = f"/posts/{post['id']}/original"
    assert api.get(path, ADMIN).status_code in {403, 404}
    hide(api, post)
    assert api.get(path, ADMIN).status_code in {403, 404}
    assert api.get(path, alice).content == image
    assert api.get(f"/moderation/images/{post['id']}/original.jpg", ADMIN).status_code == 404


PUBLIC_URL = "https://photos.example/api"


@pytest.fixture
def behind_a_path(tmp_path: Path) -> Iterator[Api]:
    """The service for clients that know it by its public URL."""
    flags = ("--public-url", PUBLIC_URL, "--admins", ADMIN)
    with local_server(tmp_path, *flags) as server, Api(server.url, LOCAL) as api:
        yield api


def test_urls_of_images_that_are_not_public_begin_with_the_public_url(behind_a_path: Api) -> None:
    api, alice = behind_a_path, someone("alice")
    post = hidden(api, alice)
    for user, root in ((alice, "/me/images"), (ADMIN, "/moderation/images")):
        image = api.get(f"/posts/{post['id']}", user).json()["image"]
        assert image["url"] == PUBLIC_URL + image_path(post, root)
        assert image["large"]["url"] == PUBLIC_URL + image_path(post, root, "1600")
    appeal(api, alice, api.get("/me/decisions", alice).json()["decisions"][0]["id"])
    (entry,) = api.get("/moderation/queue", ADMIN).json()["entries"]
    assert entry["post"]["image"]["url"] == PUBLIC_URL + image_path(post, "/moderation/images")
    (own,) = api.get("/me/posts", alice).json()["posts"]
    assert own["image"]["url"] == PUBLIC_URL + image_path(post, "/me/images")


def test_links_below_me_begin_with_the_public_url(behind_a_path: Api) -> None:
    api, alice = behind_a_path, someone("alice")
    for _ in range(2):
        api.ready(alice)
    for path in ("/me/feed", "/me/posts"):
        link = api.get(path, alice, params={"limit": 1}).headers["link"]
        assert link.startswith(f"<{PUBLIC_URL}{path}?")
    moved = api.get("/posts", params={"status": "unfinished"})
    assert moved.headers["location"] == f"{PUBLIC_URL}/me/posts?status=unfinished"
