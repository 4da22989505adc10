"""Posting, commenting, editing and deleting, on a good network."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support import samples
from support.api import LOCAL, Api, someone
from support.browsers import WAIT_FOR_LIMIT, Gallery
from support.servers import Server, local_server

OpenGallery = Callable[..., Gallery]
COMMENTS = re.compile(r"^Comments \(\d+\)$")


def test_several_images_are_posted_at_once_each_with_its_texts(
    open_gallery: OpenGallery, server: Server, api: Api
) -> None:
    user = someone("Jürgen")  # beyond ASCII: headers are bytes
    gallery = open_gallery(server.url)
    gallery.sign_in(user)
    dialog = gallery.choose(("a.jpg", samples.jpeg()), ("b.png", samples.by_vips(".png")))
    for place, text in enumerate(("The first", "The second")):
        dialog.get_by_role("textbox", name="Caption").nth(place).fill(text)
    dialog.get_by_role("textbox", name="Alt text").nth(0).fill("Four colours")
    gallery.button("Post", within=dialog).click()
    for text in ("The first", "The second"):
        expect(gallery.article(text)).to_be_visible()
        expect(gallery.button("Delete", within=gallery.article(text))).to_be_visible()
    expect(gallery.uploads).to_have_count(0)
    expect(gallery.article("The first").get_by_role("img")).to_have_attribute("alt", "Four colours")
    posts = api.feed(creator=user, limit=100)["posts"]
    assert sorted(post["caption"] for post in posts) == ["The first", "The second"]


def test_what_the_service_will_refuse_is_said_before_a_byte_is_sent(
    open_gallery: OpenGallery, server: Server
) -> None:
    gallery = open_gallery(server.url)
    gallery.sign_in("carol")
    sent: list[str] = []
    gallery.page.on("request", lambda request: sent.append(request.method))
    dialog = gallery.choose(("good.jpg", samples.jpeg()), ("notes.jpg", b"no image at all"))
    refused = dialog.get_by_role("group", name="notes.jpg")
    expect(refused.get_by_role("alert")).to_contain_text(
        "This file is not an image that can be posted"
    )
    caption = dialog.get_by_role("textbox", name="Caption").first
    caption.fill("x" * 5001)
    expect(dialog).to_contain_text("This text has 5001 characters. Shorten it to 5000.")
    gallery.button("Post", within=dialog).click()
    expect(dialog).to_contain_text("Remove or change the marked ones")
    assert "POST" not in sent
    caption.fill("All good")
    gallery.button("Remove notes.jpg", within=dialog).click()
    gallery.button("Post", within=dialog).click()
    expect(gallery.article("All good")).to_be_visible()


def test_a_smaller_image_is_sent_only_if_asked_for_and_says_what_it_saves(
    open_gallery: OpenGallery, server: Server, api: Api
) -> None:
    user = someone("thrifty")
    gallery = open_gallery(server.url)
    gallery.sign_in(user)
    original = samples.encoded(samples.corners(4200, 2800), quality=100)
    dialog = gallery.choose(("large.jpg", original))
    dialog.get_by_role("checkbox", name="Smaller (2048 px)").check()
    expect(dialog).to_contain_text(re.compile(r"Saves 0\.\d MB of your data"))
    dialog.get_by_role("textbox", name="Caption").fill("Smaller")
    gallery.button("Post", within=dialog).click()
    expect(gallery.article("Smaller")).to_be_visible()
    (post,) = api.feed(creator=user)["posts"]
    stored_bytes = api.get(f"/posts/{post['id']}/original", user).content
    assert samples.opened(stored_bytes).size == (2048, 1365)


def test_dropped_and_pasted_images_open_the_composer(
    open_gallery: OpenGallery, server: Server
) -> None:
    gallery = open_gallery(server.url)
    gallery.sign_in("carol")
    for event in ("drop", "paste"):
        transfer = "dataTransfer" if event == "drop" else "clipboardData"
        kind = "DragEvent" if event == "drop" else "ClipboardEvent"
        gallery.page.evaluate(
            f"""(bytes) => {{
                const given = new DataTransfer();
                given.items.add(new File([new Uint8Array(bytes)], "given.jpg"));
                const event = new {kind}("{event}", {{ {transfer}: given, bubbles: true }});
                document.body.dispatchEvent(event);
            }}""",
            list(samples.jpeg()),
        )
        expect(gallery.dialog("New post").get_by_role("group", name="given.jpg")).to_be_visible()
        gallery.close_dialog()


def test_comments_are_written_edited_and_deleted(
    open_gallery: OpenGallery, server: Server, api: Api
) -> None:
    post = api.finished("alice", caption="To be talked about")
    gallery = open_gallery(server.url)
    gallery.sign_in("bob")
    dialog = gallery.comments_of("To be talked about")
    gallery.comment(dialog, "Nice <i>light</i>")
    comments = dialog.get_by_role("list", name="Comments")
    expect(comments.get_by_role("listitem")).to_have_count(1)
    gallery.button("Edit", within=comments).click()
    comments.get_by_role("textbox", name="Edit comment").fill("Nice place")
    gallery.button("Save", within=comments).click()
    expect(comments.get_by_text("edited")).to_be_visible()
    assert [comment["content"] for comment in api.latest(post["id"])] == ["Nice place"]
    gallery.close_dialog()
    expect(
        gallery.button("Comments (1)", within=gallery.article("To be talked about"))
    ).to_be_visible()
    dialog = gallery.comments_of("To be talked about")
    gallery.button("Delete", within=dialog.get_by_role("list")).click()
    gallery.button("Delete", within=gallery.page.get_by_role("alertdialog")).click()
    expect(dialog.get_by_text("No comments yet.")).to_be_visible()
    assert api.total(post["id"]) == 0


def test_ones_own_post_is_edited_and_deleted(
    open_gallery: OpenGallery, server: Server, api: Api
) -> None:
    user = someone("alice")
    post = api.finished(user, caption="First try")
    api.finished("somebody else", caption="Not mine")
    gallery = open_gallery(server.url)
    gallery.sign_in(user)
    expect(gallery.button("Edit", within=gallery.article("Not mine"))).to_have_count(0)
    gallery.button("Edit", within=gallery.article("First try")).click()
    gallery.dialog("Edit post").get_by_role("textbox", name="Caption").fill("Second try")
    gallery.button("Save").click()
    expect(gallery.status).to_contain_text("Your change is saved.")
    assert api.get(f"/posts/{post['id']}").json()["caption"] == "Second try"
    gallery.button("Delete", within=gallery.article("Second try")).click()
    dialog = gallery.page.get_by_role("alertdialog", name="Delete this image?")
    gallery.button("Cancel", within=dialog).click()
    assert api.get(f"/posts/{post['id']}").status_code == 200
    gallery.button("Delete", within=gallery.article("Second try")).click()
    gallery.button("Delete", within=dialog).click()
    expect(gallery.article("Second try")).to_have_count(0)
    assert api.get(f"/posts/{post['id']}").status_code == 404


def test_an_edit_that_met_another_one_shows_both_texts(
    open_gallery: OpenGallery, server: Server, api: Api
) -> None:
    user = someone("alice")
    post = api.finished(user, caption="As it was")
    gallery = open_gallery(server.url)
    gallery.sign_in(user)
    gallery.button("Edit", within=gallery.article("As it was")).click()
    # Meanwhile, on another device of hers.
    api.send("PATCH", f"/posts/{post['id']}", user, json={"caption": "Changed elsewhere"})
    gallery.dialog("Edit post").get_by_role("textbox", name="Caption").fill("Changed here")
    gallery.button("Save").click()
    waiting = gallery.page.get_by_role("region", name="Not sent yet")
    expect(waiting).to_contain_text("Changed here")
    expect(waiting).to_contain_text("Changed elsewhere")
    assert api.get(f"/posts/{post['id']}").json()["caption"] == "Changed elsewhere"
    gallery.button("Use mine", within=waiting).click()
    expect(gallery.status).to_contain_text("Your change is saved.")  # for 5 s
    expect(waiting).to_have_count(0)
    assert api.get(f"/posts/{post['id']}").json()["caption"] == "Changed here"


def test_writing_asks_nobody_to_sign_in_first_and_goes_on_afterwards(
    open_gallery: OpenGallery, server: Server, api: Api
) -> None:
    post = api.finished("alice", caption="Open to all")
    gallery = open_gallery(server.url)
    dialog = gallery.comments_of("Open to all")
    gallery.comment(dialog, "Who am I?")
    gallery.page.get_by_role("textbox", name="Name").fill("dave")
    gallery.page.keyboard.press("Enter")
    expect(gallery.status).to_contain_text("Your comment is sent.")  # for 5 s
    expect(dialog.get_by_role("listitem")).to_have_count(1)
    assert [comment["creator"] for comment in api.latest(post["id"])] == ["dave"]


def test_a_damaged_image_is_failed_in_words_and_can_be_removed(
    open_gallery: OpenGallery, server: Server
) -> None:
    user = someone("unlucky")
    gallery = open_gallery(server.url)
    gallery.sign_in(user)
    dialog = gallery.choose(("cut.jpg", samples.jpeg(900, 600)[:2000]))
    gallery.button("Post", within=dialog).click()
    item = gallery.uploads.get_by_role("listitem")
    expect(item).to_contain_text("Failed: The image is damaged or incomplete.")
    gallery.button("Remove", within=item).click()
    expect(gallery.uploads).to_have_count(0)


def test_the_keyboard_is_enough(browser: Browser, server: Server, api: Api) -> None:
    api.finished("alice", caption="By keyboard")
    with browser.new_context() as context:
        gallery = Gallery(context.new_page(), server.url)
        gallery.open()
        gallery.page.get_by_role("radio", name="Top").focus()
        gallery.page.keyboard.press("ArrowRight")
        expect(gallery.page.get_by_role("radio", name="New")).to_be_checked()
        button = gallery.article("By keyboard").get_by_role("button", name=COMMENTS)
        button.focus()
        gallery.page.keyboard.press("Enter")
        expect(gallery.dialog("By keyboard")).to_be_visible()
        gallery.page.keyboard.press("Escape")
        expect(button).to_be_focused()


def test_a_post_with_a_blocked_word_is_edited_and_posted(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("casino bonus\n")
    with (
        local_server(tmp_path / "data", "--blocked-words", str(words)) as strict,
        Api(strict.url, LOCAL) as api,
    ):
        gallery = open_gallery(strict.url)
        gallery.sign_in("alice")
        gallery.post("Casino bonus!", size=(300, 200))
        expect(gallery.uploads).to_contain_text("The operators do not allow a word in this text.")
        gallery.button("Edit", within=gallery.uploads).click()
        dialog = gallery.dialog("New post")
        caption = dialog.get_by_role("textbox", name="Caption")
        expect(caption).to_have_value("Casino bonus!")
        gallery.close_dialog()
        expect(gallery.uploads).to_contain_text("Casino bonus!")
        gallery.button("Edit", within=gallery.uploads).click()
        caption.fill("At the casino")
        gallery.button("Post", within=dialog).click()
        expect(gallery.article("At the casino")).to_be_visible()
        expect(gallery.uploads).to_have_count(0)
        assert [post["caption"] for post in api.feed()["posts"]] == ["At the casino"]


def test_a_limit_is_said_in_a_sentence_and_what_waits_for_it_says_why(
    open_gallery: OpenGallery, tmp_path: Path
) -> None:
    with local_server(tmp_path, "--writes-per-minute", "1") as server:
        gallery = open_gallery(server.url)
        gallery.sign_in("alice")
        gallery.post("The first", "The second")
        expect(gallery.uploads).to_contain_text(WAIT_FOR_LIMIT)


@pytest.mark.parametrize("brand", ["mif1", "mif2", "msf1"])
def test_a_heic_that_names_only_the_general_format_is_posted(
    open_gallery: OpenGallery, server: Server, api: Api, brand: str
) -> None:
    """As the API accepts it: only the gallery refused it, by a table of its own."""
    user = someone("alice")
    content = samples.heic()
    size = int.from_bytes(content[:4])
    code = brand.encode()
    image = content[:8] + code + bytes(4) + code * ((size - 16) // 4) + content[size:]
    assert api.upload(user, image, caption="By the API").status_code == 201
    gallery = open_gallery(server.url)
    gallery.sign_in(user)
    dialog = gallery.choose((f"{brand}.heic", image))
    expect(dialog.get_by_role("alert")).to_have_count(0)
    dialog.get_by_role("textbox", name="Caption").fill("By the gallery")
    with gallery.page.expect_response(lambda answer: answer.request.method == "PATCH") as sent:
        gallery.button("Post", within=dialog).click()
    assert sent.value.status == 204


def test_a_lone_surrogate_is_named_before_anything_is_sent(
    open_gallery: OpenGallery, server: Server, api: Api
) -> None:
    post = api.finished("alice", caption="With an emoji")
    gallery = open_gallery(server.url)
    gallery.sign_in(someone("alice"))
    dialog = gallery.comments_of("With an emoji")
    field = dialog.get_by_role("textbox", name="Comment")
    field.evaluate(
        """(field) => {
            field.value = "half an emoji: \\ud83d";
            field.dispatchEvent(new Event("input", {bubbles: true}));
        }"""
    )
    expect(dialog).to_contain_text("half a character (a lone surrogate)")
    gallery.button("Send", within=dialog).click()
    expect(field).not_to_have_value("")
    assert api.total(post["id"]) == 0
    gallery.comment(dialog, "a whole one: \U0001f600")
    expect(gallery.status).to_contain_text("Your comment is sent.")


def test_post_pressed_twice_posts_once(open_gallery: OpenGallery, server: Server, api: Api) -> None:
    """A large image takes a moment to store."""
    user = someone("hasty")
    gallery = open_gallery(server.url)
    gallery.sign_in(user)
    dialog = gallery.choose(("large.bmp", samples.bitmap(1300, 1300)))
    dialog.get_by_role("textbox", name="Caption").fill("Pressed twice")
    form = dialog.locator("form")
    form.evaluate("(form) => { form.requestSubmit(); form.requestSubmit(); }")
    expect(gallery.article("Pressed twice")).to_be_visible()
    expect(gallery.uploads).to_have_count(0)
    assert len(api.feed(creator=user)["posts"]) == 1
