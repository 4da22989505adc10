"""`GET /moderation/queue`: entries of reports. Other kinds are in `test_appeals.py` and
`test_review.py`."""

import re

import pytest

from support.api import Api, assert_problem, fields, someone
from support.moderation import (
    ADMIN,
    Item,
    comment_subject,
    decide,
    entry_of,
    items,
    kinds,
    pages,
    post_subject,
    queue,
    report,
)

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def latest_texts(entry: Item) -> list[str]:
    return [item["text"] for item in entry["latest"]]


def test_an_entry_holds_its_post_and_its_reports(api: Api) -> None:
    post = api.ready(someone("alice"), caption="reported")
    bob, carol = someone("bob"), someone("carol")
    first = report(api, bob, post_subject(post), "spam", text="first")
    second = report(api, carol, post_subject(post), "nudity", text="second")
    api.eventually(lambda: [item["reports"] for item in queue(api, post_subject(post))], [2])
    entry = entry_of(api, post_subject(post), "report")
    assert re.fullmatch(TIME, entry["since"])
    assert entry["since"] <= second["created_at"]
    assert entry["post"]["caption"] == "reported"
    assert entry["post"]["image"]["url"] == post["image"]["url"]
    expected = {
        "kind": "report",
        "post_id": post["id"],
        "comment_id": None,
        "comment": None,
        "reports": 2,
        "reasons": {"spam": 1, "nudity": 1},
        "latest": [
            {
                "reporter": carol,
                "reason": "nudity",
                "text": "second",
                "created_at": second["created_at"],
            },
            {
                "reporter": bob,
                "reason": "spam",
                "text": "first",
                "created_at": first["created_at"],
            },
        ],
        "appeal": None,
        "match": None,
        "since": entry["since"],
    }
    assert {**expected, "post": entry["post"], "user": entry["user"]} == entry


def test_an_entry_of_a_comment_holds_the_comment(api: Api) -> None:
    post = api.ready(someone("alice"))
    comment = api.comment(post["id"], someone("carol"), "reported")
    report(api, someone("bob"), comment_subject(comment), "harassment")
    entry = entry_of(api, comment_subject(comment), "report")
    assert entry["comment"] == comment
    assert (entry["reports"], entry["reasons"]) == (1, {"harassment": 1})
    assert kinds(api, post_subject(post)) == []


def test_the_latest_reports_are_the_newest_five_and_all_are_counted(api: Api) -> None:
    subject = post_subject(api.ready(someone("alice")))
    for number in range(7):
        reason = "spam" if number % 2 else "hate"
        report(api, someone("bob"), subject, reason, text=str(number))
    api.eventually(lambda: [item["reports"] for item in queue(api, subject)], [7])
    entry = entry_of(api, subject, "report")
    assert entry["reasons"] == {"hate": 4, "spam": 3}
    assert latest_texts(entry) == ["6", "5", "4", "3", "2"]


def test_closed_reports_are_not_counted(api: Api) -> None:
    subject = post_subject(api.ready(someone("alice")))
    first = report(api, someone("bob"), subject, "spam", text="closed")
    api.eventually(lambda: kinds(api, subject), ["report"])
    decide(api, "dismiss", subject)
    api.eventually(lambda: kinds(api, subject), [])
    second = report(api, someone("carol"), subject, "hate", text="open")
    entry = entry_of(api, subject, "report")
    assert (entry["reports"], entry["reasons"]) == (1, {"hate": 1})
    assert latest_texts(entry) == ["open"]
    assert first["created_at"] <= entry["since"] <= second["created_at"]


@pytest.mark.parametrize("action", ["hide", "delete", "dismiss"])
def test_a_decision_closes_its_subjects_entries(api: Api, action: str) -> None:
    subject = post_subject(api.ready(someone("alice")))
    for _ in range(2):
        report(api, someone("bob"), subject)
    api.eventually(lambda: kinds(api, subject), ["report"])
    decide(api, action, subject)
    api.eventually(lambda: kinds(api, subject), [])


def test_entries_are_oldest_first_whatever_is_reported_again(api: Api) -> None:
    subjects = [post_subject(api.ready(someone("alice"))) for _ in range(3)]
    for subject in (*subjects, subjects[0]):
        report(api, someone("bob"), subject)
    api.eventually(lambda: [entry["reports"] for entry in queue(api, *subjects)], [2, 1, 1])
    entries = queue(api, *subjects)
    assert [post_subject(entry["post"]) for entry in entries] == subjects
    assert [entry["since"] for entry in entries] == sorted(entry["since"] for entry in entries)


def test_pages_of_the_queue_join(api: Api) -> None:
    subjects = [post_subject(api.ready(someone("alice"))) for _ in range(5)]
    for subject in subjects:
        report(api, someone("bob"), subject)
    api.eventually(lambda: len(queue(api, *subjects)), 5)
    by_two = queue(api, *subjects, limit=2)
    assert [post_subject(entry["post"]) for entry in by_two] == subjects
    answer = api.get("/moderation/queue", ADMIN)
    assert answer.headers["cache-control"] == "private, no-store"
    assert len(answer.json()["entries"]) <= 10


def test_a_walk_of_the_queue_beside_decisions_misses_no_entry(api: Api) -> None:
    """An admin who decides about each entry of a page continues with the next page."""
    subjects = [post_subject(api.ready(someone("alice"))) for _ in range(5)]
    for subject in subjects:
        report(api, someone("bob"), subject)
    api.eventually(lambda: len(queue(api, *subjects)), 5)
    walked = []
    for page in pages(api, "/moderation/queue", ADMIN, limit=2):
        for entry in items(page):
            is_own = entry["comment"] is None and entry["post"] is not None
            if is_own and post_subject(entry["post"]) in subjects:
                walked.append(post_subject(entry["post"]))
                decide(api, "dismiss", walked[-1])
    assert walked == subjects


@pytest.mark.same_code("rules of a query")
@pytest.mark.parametrize("path", ["/moderation/queue", "/moderation/decisions"])
@pytest.mark.parametrize("limit", ["0", "101", "ten", ""])
def test_a_limit_outside_1_to_100_is_named(api: Api, path: str, limit: str) -> None:
    answer = api.get(path, ADMIN, params={"limit": limit})
    assert fields(assert_problem(answer, 422, "validation_failed")) == {"limit"}


@pytest.mark.parametrize("path", ["/moderation/queue", "/moderation/decisions"])
@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "A" * 10_000, "\x00"])
def test_a_forged_cursor_is_refused(api: Api, path: str, cursor: str) -> None:
    answer = api.get(path, ADMIN, params={"cursor": cursor})
    assert_problem(answer, 400, "invalid_cursor")


@pytest.fixture(scope="module")
def two_of_each(api: Api) -> None:
    """Two entries of the queue, and two decisions."""
    for _ in range(2):
        report(api, someone("bob"), post_subject(api.ready(someone("alice"))))
        decide(api, "delete", post_subject(api.ready(someone("alice"))))


def first_cursor(api: Api, path: str) -> str:
    """The cursor of the second page; empty without one."""
    return str(api.get(path, ADMIN, params={"limit": 1}).json()["next"] or "")


@pytest.mark.usefixtures("two_of_each")
@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/moderation/queue", "/moderation/decisions"),
        ("/moderation/decisions", "/moderation/queue"),
    ],
)
def test_a_cursor_is_signed_and_belongs_to_its_list(api: Api, path: str, other: str) -> None:
    api.eventually(lambda: bool(first_cursor(api, path)), expected=True)
    cursor = first_cursor(api, path)
    assert_problem(api.get(other, ADMIN, params={"cursor": cursor}), 400, "invalid_cursor")
    assert_problem(api.get("/posts", params={"cursor": cursor}), 400, "invalid_cursor")
    for at in range(0, len(cursor) - 1, 7):
        forged = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
        answer = api.get(path, ADMIN, params={"cursor": forged})
        assert_problem(answer, 400, "invalid_cursor")
