"""Blocked images: by a decision with `block_image`, and by `--blocked-images FILE`."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from image_poster.adapters.images.pipeline import hash_pixels
from image_poster.domain.block_lists import MIN_QUALITY
from image_poster.domain.images import Size
from support import samples
from support.api import LOCAL, Api, assert_problem, fields, someone
from support.moderation import (
    ADMIN,
    Item,
    actions,
    appeal,
    comment_subject,
    decide,
    entry_of,
    feed_ids,
    kinds,
    log,
    post_subject,
    queue,
    send_decision,
    status_as,
    walk,
)
from support.servers import local_server, refused
from support.waiting import wait_until


def copy_of(image: Image.Image) -> bytes:
    """The image as another user sends it: smaller, and encoded again."""
    return samples.encoded(image.resize((360, 270)), quality=60)


def unique_image() -> Image.Image:
    return samples.mosaic(secrets.token_hex(8))


def blocked_image(api: Api) -> tuple[Image.Image, Item]:
    """An image that a decision blocked, and the decision."""
    image = unique_image()
    post = api.ready(someone("alice"), samples.encoded(image))
    return image, decide(api, "delete", post_subject(post), block_image=True)


def rejected_post(api: Api, user: str, image: Image.Image) -> Item:
    """A post with a copy of a blocked image. On AWS, the blocking takes effect soon after."""

    def attempt() -> Item | None:
        post = api.finished(user, copy_of(image))
        if post["status"] == "ready":
            assert not api.edition.counts_at_once
            assert api.send("DELETE", f"/posts/{post['id']}", user).status_code == 204
            return None
        return post

    return wait_until(attempt, every=5, seconds=90)


def test_a_copy_of_a_blocked_image_fails(api: Api) -> None:
    image, _ = blocked_image(api)
    bob = someone("bob")
    post = rejected_post(api, bob, image)
    assert (post["status"], post["failure"]["code"]) == ("failed", "image_blocked")
    assert post["failure"]["detail"]
    assert post["image"] is None
    assert [status_as(api, post, user) for user in (None, someone("carol"))] == [404, 404]
    assert feed_ids(api, creator=bob) == []
    for rendition in ("600", "1600"):
        api.assert_no_image(f"/images/{post['id']}/{rendition}.jpg")


def test_another_image_does_not_fail(api: Api) -> None:
    blocked_image(api)
    assert api.ready(someone("bob"), samples.encoded(unique_image()))["status"] == "ready"


def test_deleting_without_block_image_blocks_nothing(api: Api) -> None:
    image = unique_image()
    for members in ({}, {"block_image": False}):
        post = api.ready(someone("alice"), samples.encoded(image))
        decide(api, "delete", post_subject(post), **members)
    api.ready(someone("bob"), copy_of(image))


def test_the_queue_has_an_entry_that_names_the_decision(api: Api) -> None:
    image, decision = blocked_image(api)
    post = rejected_post(api, someone("bob"), image)
    entry = entry_of(api, post_subject(post), "match")
    assert entry["match"] == {"line": None, "decision": decision["id"]}
    assert (entry["reports"], entry["latest"], entry["appeal"]) == (0, [], None)
    url = entry["post"]["image"]["url"]
    assert url == f"/moderation/images/{post['id']}/600.jpg"
    assert samples.opened(api.get(url, ADMIN).content).format == "JPEG"


def test_its_creator_learns_of_the_automatic_decision_and_may_appeal(api: Api) -> None:
    image, _ = blocked_image(api)
    bob = someone("bob")
    post = rejected_post(api, bob, image)
    api.eventually(lambda: len(walk(api, "/me/decisions", bob)), 1)
    (decision,) = walk(api, "/me/decisions", bob)
    assert (decision["by"], decision["action"]) == ("service", "reject")
    assert (decision["post_id"], decision["reason"]) == (post["id"], "image_blocked")
    api.eventually(lambda: actions(api, post_subject(post)), ["reject"])
    assert [entry["by"] for entry in log(api, post_subject(post))] == ["service"]
    assert appeal(api, bob, decision["id"]).status_code == 201
    api.eventually(lambda: sorted(kinds(api, post_subject(post))), ["appeal", "match"])
    (shown,) = walk(api, "/me/posts", bob, status="failed")
    assert shown["moderation"]["id"] == decision["id"]
    assert shown["moderation"]["appeal"]["outcome"] is None


def test_publishing_undoes_a_false_match(api: Api) -> None:
    image, _ = blocked_image(api)
    bob = someone("bob")
    post = rejected_post(api, bob, image)
    decide(api, "publish", post_subject(post))
    shown = api.get(f"/posts/{post['id']}").json()
    assert (shown["status"], "failure" in shown) == ("ready", False)
    for url in (shown["image"]["url"], shown["image"]["large"]["url"]):
        assert samples.opened(api.get(url).content).format == "JPEG"
    api.eventually(lambda: feed_ids(api, creator=bob), [post["id"]])
    api.eventually(lambda: kinds(api, post_subject(post)), [])


def test_dismissing_a_match_leaves_the_post_as_it_is(api: Api) -> None:
    image, _ = blocked_image(api)
    bob = someone("bob")
    post = rejected_post(api, bob, image)
    api.eventually(lambda: kinds(api, post_subject(post)), ["match"])
    decide(api, "dismiss", post_subject(post))
    api.eventually(lambda: queue(api, post_subject(post)), [])
    assert api.get(f"/posts/{post['id']}", bob).json()["status"] == "failed"


def test_the_image_of_a_hidden_post_can_be_blocked(api: Api) -> None:
    image = unique_image()
    post = api.ready(someone("alice"), samples.encoded(image))
    decide(api, "hide", post_subject(post))
    decide(api, "delete", post_subject(post), block_image=True)
    assert rejected_post(api, someone("bob"), image)["failure"]["code"] == "image_blocked"


def test_only_the_deletion_of_a_post_blocks_an_image(api: Api) -> None:
    post = api.ready(someone("alice"))
    comment = comment_subject(api.comment(post["id"], someone("carol")))
    for action, subject in (("hide", post_subject(post)), ("delete", comment)):
        answer = send_decision(api, action, subject, block_image=True)
        assert fields(assert_problem(answer, 422, "validation_failed")) == {"block_image"}
    assert status_as(api, post) == 200


def test_an_image_of_little_detail_cannot_be_blocked(api: Api) -> None:
    """Its hash is chance (quality below 50), and would match images that are unlike it."""
    plain = samples.encoded(Image.new("RGB", (300, 200), (90, 120, 150)))
    post = api.ready(someone("alice"), plain)
    answer = send_decision(api, "delete", post_subject(post), block_image=True)
    assert_problem(answer, 409, "decision_conflict")
    assert status_as(api, post) == 200
    decide(api, "delete", post_subject(post))
    api.ready(someone("bob"), plain)


@pytest.fixture(scope="module")
def listed_image() -> Image.Image:
    return samples.mosaic("listed")


@pytest.fixture(scope="module")
def with_list(tmp_path_factory: pytest.TempPathFactory, listed_image: Image.Image) -> Iterator[Api]:
    """The edition on one machine, with a list whose third line is the image's hash."""
    folder = tmp_path_factory.mktemp("hashes")
    pixels = memoryview(listed_image.tobytes())
    digits, quality = hash_pixels(pixels, Size(*listed_image.size))
    assert quality >= MIN_QUALITY
    (folder / "hashes.txt").write_text(f"# hashes\n{'0f' * 32}\n{digits.upper()}\n")
    flags = ("--blocked-images", str(folder / "hashes.txt"), "--admins", ADMIN)
    with local_server(folder / "data", *flags) as server, Api(server.url, LOCAL) as api:
        yield api


def test_an_entry_names_the_line_of_the_list(with_list: Api, listed_image: Image.Image) -> None:
    post = rejected_post(with_list, someone("bob"), listed_image)
    assert post["failure"]["code"] == "image_blocked"
    entry = entry_of(with_list, post_subject(post), "match")
    assert entry["match"] == {"line": 3, "decision": None}


def test_images_that_are_not_listed_are_published(with_list: Api) -> None:
    with_list.ready(someone("bob"), samples.encoded(unique_image()))


@pytest.mark.parametrize(
    "content", [None, b"# ours\nnot a hash\n", b"0f0f\n"], ids=["missing", "no hash", "too short"]
)
def test_a_list_that_cannot_be_read_stops_the_start_and_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "hashes.txt"
    if content is not None:
        path.write_bytes(content)
    flags = ("--port", "0", "--data-dir", str(tmp_path / "data"))
    assert "hashes.txt" in refused(*flags, "--blocked-images", str(path))
