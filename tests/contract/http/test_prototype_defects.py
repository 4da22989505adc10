"""The defects of the Go prototype, each by its name. (A retried stream batch, which no client can
cause, is in `property/test_projection.py`; 100 MB on AWS, in `e2e/test_aws.py`.)"""

from PIL import Image, ImageDraw

from support import samples
from support.api import Api, assert_problem, someone


def test_an_image_that_is_put_again(api: Api) -> None:
    """The storage tells of it again; the prototype then wrote its post anew, with no comments. That
    no order of events matters is shown in `tests/e2e/test_aws.py` and
    `tests/property/test_stored_images.py`."""
    alice, content = someone("alice"), samples.jpeg()
    image = {"size": len(content), "content_type": "image/jpeg"}
    reserved = api.send("POST", "/posts", alice, json={"image": image}).json()
    put, path = reserved["upload"]["put"], f"/posts/{reserved['id']}"
    assert api.http.put(put["url"], content=content, headers=put["headers"]).is_success
    assert api.processed(path, alice)["status"] == "ready"
    api.comment(reserved["id"], "bob")
    api.eventually(lambda: api.total(reserved["id"]), 1)
    before = api.get(path).json()
    for _ in range(2):
        assert api.http.put(put["url"], content=content, headers=put["headers"]).is_success
    other = api.ready_by_put(someone())  # told of after those, and done
    assert other["status"] == "ready"
    assert api.get(path).json() == before


def test_rank_lagging_the_count(api: Api) -> None:
    """The count was written, and the rank in the feed not."""
    alice = someone("alice")
    older, newer = api.ready(alice), api.ready(alice)
    for _ in range(2):
        api.comment(older["id"], "bob")
    api.eventually(
        lambda: [(p["id"], p["total_comments"]) for p in api.feed(creator=alice)["posts"]],
        [(older["id"], 2), (newer["id"], 0)],
    )


def test_missing_comment_delete(api: Api) -> None:
    """There was no way to delete a comment, and none to take its count back."""
    post = api.ready(someone("alice"))
    comment = api.comment(post["id"], "bob")
    api.eventually(lambda: api.total(post["id"]), 1)
    path = f"/posts/{post['id']}/comments/{comment['id']}"
    assert api.send("DELETE", path, "bob").status_code == 204
    api.eventually(lambda: (api.total(post["id"]), len(api.latest(post["id"]))), (0, 0))
    assert api.get(f"/posts/{post['id']}/comments").json()["comments"] == []


def test_stretched_image(api: Api) -> None:
    """A disc became an ellipse."""
    image = Image.new("RGB", (1200, 700), "white")
    ImageDraw.Draw(image).ellipse((450, 200, 750, 500), fill="black")
    post = api.ready(someone(), samples.encoded(image))
    shown = samples.opened(api.get(post["image"]["url"]).content).convert("L")
    assert shown.size == (600, 600)
    dark = [value < 128 for value in shown.tobytes()]  # a byte a pixel, row by row
    across = sum(dark[300 * 600 : 301 * 600])
    down = sum(dark[300::600])
    assert abs(across - down) <= 2
    assert abs(across - 300 * 600 / 700) <= 4


def test_swallowed_decode_error(api: Api) -> None:
    """An image that could not be decoded became a post without one, and nobody was told."""
    alice = someone("alice")
    post = api.finished(alice, samples.jpeg(600, 400)[:3000])
    assert (post["status"], post["failure"]["code"]) == ("failed", "image_unreadable")
    assert api.feed(creator=alice)["posts"] == []


def test_2_kb_captions(api: Api) -> None:
    """Captions travelled in the metadata of S3, which has 2 KB: here they have 5,000 characters, of
    up to four bytes each, and so do comments their 2,000."""
    caption, alt, content = "🏔" * 5000, "é" * 1500, "漢" * 2000
    post = api.ready(someone("alice"), caption=caption, alt=alt)
    assert (post["caption"], post["alt"]) == (caption, alt)
    for _ in range(11):
        api.comment(post["id"], "bob", content)
    api.eventually(lambda: api.total(post["id"]), 11)
    # As many of the latest as fit into 16 kB.
    assert [shown["content"] for shown in api.latest(post["id"])] == [content] * 2
    too_long = {"content": content + "漢"}
    answer = api.send("POST", f"/posts/{post['id']}/comments", "bob", json=too_long)
    assert_problem(answer, 422, "validation_failed")
