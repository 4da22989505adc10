"""`--blocked-words FILE`: captions, alt texts and comments that contain one are refused.

The edition on one machine, whose file is read at the start. The comparison is shared code.
"""

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.api import LOCAL, Api, assert_problem, fields, someone
from support.moderation import Item, new_key, post_subject, report
from support.servers import local_server, refused

pytestmark = pytest.mark.slow(reason="starts a server for each list")

WORDS = """\
# Words of the house; a line like this one is none.
grape
buy now
  spaced out
casino*
misfit
Straße
"""
TUS = {"tus-resumable": "1.0.0", "upload-length": "1000"}
BLOCKED = {
    "as it is written": "grape",
    "in a sentence": "A grape, please.",
    "in capitals": "GRAPE",
    "casefolded": "STRASSE",
    "in full width (NFKC)": "\uff47\uff52\uff41\uff50\uff45",
    "as a ligature (NFKC)": "mis\ufb01t",
    "with a zero-width space": "gr\u200bape",
    "with a zero-width joiner": "g\u200dr\u200cape",
    "with a soft byte order mark": "gra\ufeffpe",
    "with a word joiner": "gra\u2060pe",
    "with direction marks": "\u202egr\u200eap\u200fe\u202c",
    "with isolates": "\u2066grape\u2069",
    "between punctuation": "(grape)",
    "after a line break": "no\ngrape",
    "a phrase": "Please buy now!",
    "a phrase of a line with spaces around it": "spaced out",
    "a prefix itself": "casino",
    "a longer word with the prefix": "casinos4free",
}
ALLOWED = {
    "a longer word": "grapefruit",
    "the end of a longer word": "vinegrape",
    "another word": "apple",
    "the words of a phrase apart": "buy it now",
    "the prefix within a word": "supercasino",
    "a comment of the file": "Words of the house",
    "a longer word than the phrase's": "buy nowhere",
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("words")
    (folder / "words.txt").write_text(WORDS, "utf-8")
    flags = ("--blocked-words", str(folder / "words.txt"), "--admins", "root")
    with local_server(folder / "data", *flags) as server, Api(server.url, LOCAL) as running_api:
        yield running_api


@pytest.fixture(scope="module")
def post(api: Api) -> Item:
    return api.ready(someone("alice"))


def add_comment(api: Api, post: Item, content: str, **headers: str) -> httpx.Response:
    path = f"/posts/{post['id']}/comments"
    return api.send("POST", path, someone("bob"), json={"content": content}, headers=headers)


def assert_blocked(answer: httpx.Response, field: str) -> None:
    """The problem names the field, not the word."""
    problem = assert_problem(answer, 422, "text_blocked")
    assert fields(problem) == {field}
    assert all(error["detail"] for error in problem["errors"])
    assert "grape" not in answer.text.casefold()


@pytest.mark.parametrize("text", BLOCKED.values(), ids=BLOCKED)
def test_a_text_with_a_blocked_word_is_refused(api: Api, post: Item, text: str) -> None:
    answer = add_comment(api, post, text)
    assert fields(assert_problem(answer, 422, "text_blocked")) == {"content"}


@pytest.mark.parametrize("text", ALLOWED.values(), ids=ALLOWED)
def test_a_text_without_one_is_accepted(api: Api, post: Item, text: str) -> None:
    assert add_comment(api, post, text).status_code == 201


@pytest.mark.parametrize("field", ["caption", "alt"])
def test_a_new_posts_texts_are_compared_however_it_is_made(api: Api, field: str) -> None:
    alice = someone("alice")
    texts: dict[str, Any] = {field: "a grape"}
    image = {"size": 1000, "content_type": "image/jpeg"}
    metadata = f"{field} {b64encode(b'a grape').decode()}"
    answers = (
        api.upload(alice, **texts),
        api.send("POST", "/posts", alice, json={"image": image, **texts}),
        api.send("POST", "/uploads", alice, headers={**TUS, "upload-metadata": metadata}),
    )
    for answer in answers:
        assert_blocked(answer, field)
    assert api.get("/me/posts", alice).json()["posts"] == []


@pytest.mark.parametrize("field", ["caption", "alt"])
def test_an_edited_posts_texts_are_compared(api: Api, field: str) -> None:
    alice = someone("alice")
    mine = api.ready(alice, caption="before", alt="before")
    path = f"/posts/{mine['id']}"
    assert_blocked(api.send("PATCH", path, alice, json={field: "a grape"}), field)
    assert api.get(path).json() == mine
    assert api.send("PATCH", path, alice, json={field: "an apple"}).status_code == 200


def test_comments_and_their_edits_are_compared(api: Api, post: Item) -> None:
    bob = someone("bob")
    comment = api.comment(post["id"], bob)
    path = f"/posts/{post['id']}/comments"
    requests: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("POST", path, {"content": "a grape"}),
        ("POST", "/comments", {"post_id": post["id"], "content": "a grape"}),
        ("PATCH", f"{path}/{comment['id']}", {"content": "a grape"}),
    )
    for method, target, body in requests:
        assert_blocked(api.send(method, target, bob, json=body), "content")
    assert api.get(f"{path}/{comment['id']}").json() == comment


def test_a_refused_text_leaves_its_key_unused(api: Api, post: Item) -> None:
    key = new_key()
    bob, path = someone("bob"), f"/posts/{post['id']}/comments"
    refused_answer = api.send("POST", path, bob, json={"content": "grape"}, headers=key)
    assert_blocked(refused_answer, "content")
    accepted = api.send("POST", path, bob, json={"content": "apple"}, headers=key)
    assert accepted.status_code == 201


def test_texts_of_reports_are_not_compared(api: Api, post: Item) -> None:
    """A report may quote the word."""
    body = report(api, someone("bob"), post_subject(post), text="They say grape.")
    assert body["text"] == "They say grape."


def test_texts_from_before_the_list_stay(tmp_path: Path) -> None:
    with local_server(tmp_path / "data") as server, Api(server.url, LOCAL) as api:
        alice = someone("alice")
        post = api.ready(alice, caption="a grape")
    (tmp_path / "words.txt").write_text(WORDS, "utf-8")
    flags = ("--blocked-words", str(tmp_path / "words.txt"))
    with local_server(tmp_path / "data", *flags) as server, Api(server.url, LOCAL) as api:
        path = f"/posts/{post['id']}"
        assert api.get(path).json()["caption"] == "a grape"
        edited = api.send("PATCH", path, alice, json={"alt": "a fruit"})
        assert edited.status_code == 200


@pytest.mark.parametrize("content", [None, b"\xff\xfe grape"], ids=["missing", "not UTF-8"])
def test_a_file_that_cannot_be_read_stops_the_start_and_is_named(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    flags = ("--port", "0", "--data-dir", str(tmp_path / "data"))
    message = refused(*flags, "--blocked-words", str(path))
    assert "words.txt" in message


def test_an_empty_list_blocks_nothing(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# nothing yet\n\n  \n", "utf-8")
    flags = ("--blocked-words", str(words))
    with local_server(tmp_path / "data", *flags) as server, Api(server.url, LOCAL) as api:
        api.ready(someone("alice"), caption="a grape")
