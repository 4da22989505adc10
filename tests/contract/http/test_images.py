"""The served images: upright, square, clean."""

import pytest

from support import flawed, flawed_heif, samples
from support.api import Api, assert_problem, someone

SAMPLES = samples.samples()


@pytest.mark.parametrize("kind", SAMPLES)
def test_every_format_becomes_a_clean_square_jpeg(api: Api, kind: str) -> None:
    post = api.ready(someone(), SAMPLES[kind])
    answer = api.get(post["image"]["url"])
    assert answer.headers["content-type"] == "image/jpeg"
    shown = samples.opened(answer.content)
    assert (shown.format, shown.mode, shown.size) == ("JPEG", "RGB", (600, 600))
    assert samples.looks_like(samples.corner_colours(shown), samples.CORNERS)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_phones_image_is_upright_and_tells_no_place(api: Api, orientation: int) -> None:
    post = api.ready(someone(), samples.from_phone(orientation, 1200, 800))
    assert post["image"]["large"]["width"] == 1200
    for url in (post["image"]["url"], post["image"]["large"]["url"]):
        content = api.get(url).content
        shown = samples.opened(content)
        assert samples.looks_like(samples.corner_colours(shown), samples.CORNERS)
        assert not shown.getexif()
        assert "icc_profile" not in shown.info
        assert b"Exif" not in content
        assert b"taken at home" not in content


def test_renditions_are_cached_for_ever_and_the_small_one_is_progressive(api: Api) -> None:
    post = api.ready(someone())
    answer = api.get(post["image"]["url"])
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["etag"].startswith('"')
    assert samples.opened(answer.content).info["progressive"]
    large = api.get(post["image"]["large"]["url"])
    assert "progressive" not in samples.opened(large.content).info


@pytest.mark.parametrize("name", ["601.jpg", "600.png", "600", "original.jpg", "600.jpg.jpg"])
def test_other_names_are_not_found(api: Api, name: str) -> None:
    post = api.ready(someone())
    api.assert_no_image(f"/images/{post['id']}/{name}")


def test_a_broken_image_fails_with_a_reason_and_stays_out_of_the_feed(api: Api) -> None:
    alice = someone("alice")
    post = api.finished(alice, samples.jpeg(600, 400)[:2000])
    assert post["status"] == "failed"
    assert post["failure"]["code"] == "image_unreadable"
    assert post["failure"]["detail"]
    assert post["image"] is None
    assert api.feed(creator=alice)["posts"] == []
    api.assert_no_image(f"/images/{post['id']}/600.jpg")


def test_an_image_whose_pixels_are_whole_is_shown_whatever_else_is_wrong_in_its_file(
    api: Api,
) -> None:
    """One of each kind of container; `tests/unit/test_intact_images.py` has them all."""
    image = samples.corners(240, 160)
    webp = samples.encoded(image, "WEBP")
    files = [
        flawed.pngs(samples.encoded(image, "PNG"))["wrong adler32"],
        webp[:4] + bytes(4) + webp[8:],
        flawed_heif.heifs(samples.heic(240, 160), b"hvc1")["1,500 items of metadata"],
    ]
    alice = someone("alice")
    posts = [api.upload(alice, content).json()["id"] for content in files]
    for post_id in posts:
        post = api.processed(f"/posts/{post_id}", alice)
        assert post["status"] == "ready", post
        large = samples.opened(api.get(post["image"]["large"]["url"]).content)
        assert large.size == (240, 160)
        assert samples.looks_like(samples.corner_colours(large), samples.CORNERS)


def test_a_bomb_fails_before_it_is_decoded(api: Api) -> None:
    post = api.finished(someone(), samples.bomb())
    assert post["failure"]["code"] == "image_too_large"


def test_more_pixels_than_the_limit_fail_though_the_file_is_small(api: Api) -> None:
    post = api.finished(someone(), samples.encoded(samples.corners(2100, 2000), "PNG"))
    assert post["failure"]["code"] == "image_too_large"


def test_a_bad_image_does_not_hold_up_the_good_ones(api: Api) -> None:
    alice = someone("alice")
    bad = [api.upload(alice, samples.jpeg()[:700]).json()["id"] for _ in range(4)]
    good = api.ready(alice)
    assert good["status"] == "ready"
    for post_id in bad:
        assert api.processed(f"/posts/{post_id}", alice)["status"] == "failed"


def test_the_original_is_untouched_and_for_its_creator_only(api: Api) -> None:
    alice, content = someone("alice"), samples.from_phone(6)
    post = api.ready(alice, content)
    path = f"/posts/{post['id']}/original"
    answer = api.get(path, alice)
    assert answer.content == content
    assert answer.headers["content-type"] == "image/jpeg"
    assert "private" in answer.headers["cache-control"]
    api.assert_identity_required(api.get(path))
    assert_problem(api.get(path, someone()), 403, "not_yours")
    assert_problem(api.get(path, "root"), 403, "not_yours")


def test_the_original_of_a_failed_post_is_still_there(api: Api) -> None:
    alice, content = someone("alice"), samples.jpeg()[:700]
    post = api.finished(alice, content)
    assert api.get(f"/posts/{post['id']}/original", alice).content == content
    assert_problem(api.get(f"/posts/{post['id']}/original", someone()), 404, "post_not_found")


@pytest.mark.parametrize("head", [b"ftypavif         ", b"ftypheic\x00\x00\x00\x00mif1heic"])
def test_a_drawing_disguised_as_a_photograph_is_refused(api: Api, head: bytes) -> None:
    """An SVG is a program that names files to show: with one, a stranger saw others' originals."""
    answer = api.upload(someone(), samples.svg_disguised_as(head))
    assert_problem(answer, 415, "unsupported_image")


def test_a_drawing_behind_the_true_head_of_a_photograph_is_never_drawn(api: Api) -> None:
    head = b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00mif1miafavif"
    post = api.finished(someone(), head + samples.svg_disguised_as(b"text"))
    assert post["failure"]["code"] == "image_unreadable"
