"""One comment by itself, and edits that meet: ETags of single posts and comments, and If-Match."""

import httpx
import pytest

from support.api import Api, assert_problem, someone

UNKNOWN = "01HZZZZZZZZZZZZZZZZZZZZZZZ"


class EditableText:
    """A post or a comment of one user's, by its path, and the field of its text."""

    def __init__(self, api: Api, kind: str) -> None:
        self.api, self.user = api, someone("alice")
        self.post = api.ready(self.user)
        self.path, self.field = f"/posts/{self.post['id']}", "caption"
        if kind == "comment":
            comment = api.comment(self.post["id"], self.user)
            self.path, self.field = f"{self.path}/comments/{comment['id']}", "content"

    def etag(self) -> str:
        return self.api.get(self.path).headers["etag"]

    def edit(self, text: str, etag: str | None = None) -> httpx.Response:
        headers = {} if etag is None else {"if-match": etag}
        body = {self.field: text}
        return self.api.send("PATCH", self.path, self.user, json=body, headers=headers)

    def text(self) -> str:
        return str(self.api.get(self.path).json()[self.field])


@pytest.fixture(params=["post", "comment"])
def text(api: Api, request: pytest.FixtureRequest) -> EditableText:
    return EditableText(api, request.param)


def test_a_comment_is_at_its_location(api: Api) -> None:
    post, bob = api.ready(someone()), someone("bob")
    path = f"/posts/{post['id']}/comments"
    answer = api.send("POST", path, bob, json={"content": "Nice!"})
    comment = api.get(answer.headers["location"])
    assert (comment.status_code, comment.json()) == (200, answer.json())
    condition = {"if-none-match": comment.headers["etag"]}
    assert api.get(answer.headers["location"], headers=condition).status_code == 304
    for missing in (f"{path}/{UNKNOWN}", f"{path}/nonsense"):
        assert_problem(api.get(missing), 404, "comment_not_found")
    elsewhere = answer.headers["location"].replace(post["id"], api.ready(someone())["id"])
    assert_problem(api.get(elsewhere), 404, "comment_not_found")
    assert api.send("DELETE", answer.headers["location"], bob).status_code == 204
    assert_problem(api.get(answer.headers["location"]), 404, "comment_not_found")


def test_a_comment_goes_with_its_post(api: Api) -> None:
    alice = someone("alice")
    post = api.ready(alice)
    path = f"/posts/{post['id']}/comments/{api.comment(post['id'], alice)['id']}"
    assert api.send("DELETE", f"/posts/{post['id']}", alice).status_code == 204
    assert_problem(api.get(path), 404, "post_not_found")


def test_who_saw_it_as_it_is_may_edit(text: EditableText) -> None:
    edited = text.edit("one", text.etag())
    assert edited.status_code == 200
    assert edited.headers["etag"] == text.etag()
    assert text.edit("two", edited.headers["etag"]).status_code == 200
    assert text.edit("three", "*").status_code == 200
    assert text.edit("four", f'"other", {text.etag()}').status_code == 200
    assert text.text() == "four"


def test_who_was_slower_is_told_and_changes_nothing(text: EditableText) -> None:
    before = text.etag()
    assert text.edit("by the faster").status_code == 200
    for etag in (before, '"nonsense"', "nonsense", ""):
        assert_problem(text.edit("by the slower", etag), 412, "edit_conflict")
    assert text.text() == "by the faster"
    assert text.edit("by the slower", text.etag()).status_code == 200


def test_an_edit_whose_answer_was_lost_can_be_repeated(text: EditableText) -> None:
    before = text.etag()
    first, again = text.edit("once", before), text.edit("once", before)
    assert (again.status_code, again.content) == (200, first.content)


def test_a_tag_that_a_proxy_made_weak_still_names_the_version(text: EditableText) -> None:
    before = text.etag()
    assert text.edit("one", f"W/{before}").status_code == 200
    assert_problem(text.edit("two", f"W/{before}"), 412, "edit_conflict")


def test_a_comment_is_no_edit_of_its_post(api: Api) -> None:
    """Its ETag changes, and yet nobody else has edited the post."""
    text = EditableText(api, "post")
    before = text.etag()
    api.comment(text.post["id"], someone("bob"))
    api.eventually(lambda: text.etag() != before, True)
    assert text.edit("one", before).status_code == 200


def test_others_are_refused_whatever_they_saw(text: EditableText) -> None:
    etag, text.user = text.etag(), someone("mallory")
    assert_problem(text.edit("mine", etag), 403, "not_yours")
    assert_problem(text.edit("mine", '"nonsense"'), 403, "not_yours")
