"""`moderation` and `decide`, as people type them, and the client's calls, on a server."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from image_poster.client import ImagePosterClient, RefusedError, UserBannedError
from support.api import someone
from support.clients import IMAGE, name_of, new_post
from support.servers import Server, local_server
from support.shell import Shell

ADMIN = ("--as", "root")
FAR = "2099-01-01T00:00:00.000Z"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with local_server(tmp_path_factory.mktemp("data"), "--admins", "root") as running:
        yield running


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    return Shell(server.url, tmp_path)


@pytest.fixture
def alice(server: Server) -> Iterator[ImagePosterClient]:
    with ImagePosterClient(server.url, someone("alice")) as client:
        yield client


@pytest.fixture
def bob(server: Server) -> Iterator[ImagePosterClient]:
    with ImagePosterClient(server.url, someone("bob")) as client:
        yield client


@pytest.fixture
def root(server: Server) -> Iterator[ImagePosterClient]:
    with ImagePosterClient(server.url, "root") as client:
        yield client


def entry_lines(shell: Shell, subject: str) -> list[str]:
    """The lines of one entry of the queue, for people."""
    lines = shell.run("moderation", "--limit", "100", *ADMIN).stdout.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(f"{subject}  ")]
    if not starts:
        return []
    (start,) = starts
    rest = lines[start + 1 :]
    end = next((number for number, line in enumerate(rest) if line[0] != " "), len(rest))
    return [lines[start], *rest[:end]]


def test_a_reported_post_is_listed_hidden_and_restored(
    shell: Shell, alice: ImagePosterClient, bob: ImagePosterClient
) -> None:
    post = new_post(alice, "Buy now")
    bob.report(post.id, "spam", text="An advertisement.\nTwice.")
    heading, *lines = entry_lines(shell, post.id)
    assert "  report: spam 1  since 20" in heading
    assert f"    post by {name_of(alice)}: Buy now" in lines
    assert f"      {name_of(bob)}: spam: An advertisement." in lines
    assert "      Twice." in lines
    hide = ("decide", "hide", post.id, "--reason", "spam", "--text", "No advertisements.", *ADMIN)
    hidden = shell.run(*hide).stdout
    assert hidden.endswith(f"  hide {post.id}  spam\n    No advertisements.\n")
    assert shell.run(*hide).stdout == hidden
    assert entry_lines(shell, post.id) == []
    as_alice = ("--as", name_of(alice))
    shown = shell.run("show", post.id, *as_alice).stdout
    assert "[hidden]" in shown
    assert f"    decision {hidden.split()[0]}, hide spam: No advertisements.\n" in shown
    assert "post_not_found" in shell.run("show", post.id, "--as", name_of(bob), code=1).stderr
    restored = shell.run("decide", "restore", post.id, "--json", *ADMIN).stdout
    assert json.loads(restored)["action"] == "restore"
    assert "[hidden]" not in shell.run("show", post.id, "--as", name_of(bob)).stdout


def test_comments_and_users_are_subjects_too(
    shell: Shell, alice: ImagePosterClient, bob: ImagePosterClient
) -> None:
    post = new_post(alice)
    comment = bob.comment(post.id, "Nasty words")
    alice.report(post.id, "harassment", comment_id=comment.id)
    subject = f"{post.id}/{comment.id}"
    assert f"    comment by {name_of(bob)}: Nasty words" in entry_lines(shell, subject)
    shell.run("decide", "delete", subject, "--reason", "harassment", *ADMIN)
    assert alice.comments(post.id).comments == []
    ban = ("decide", "ban", f"user:{name_of(bob)}", "--reason", "harassment", "--until", FAR)
    assert shell.run(*ban, *ADMIN).stdout.endswith(f"  harassment  until {FAR}\n")
    with pytest.raises(UserBannedError) as refusal:
        bob.comment(post.id, "More nasty words")
    assert (refusal.value.reason, refusal.value.until) == ("harassment", FAR)
    refused = shell.run("comment", post.id, "And more", "--as", name_of(bob), code=1).stderr
    assert f"The ban for harassment is until {FAR}." in refused
    shell.run("decide", "unban", f"user:{name_of(bob)}", *ADMIN)
    assert bob.comment(post.id, "Kind words").content == "Kind words"


def test_an_appeal_about_deleted_content_is_listed_and_dismissed(
    shell: Shell, alice: ImagePosterClient, bob: ImagePosterClient, root: ImagePosterClient
) -> None:
    post = new_post(alice)
    comment = bob.comment(post.id, "Nasty words")
    subject = f"{post.id}/{comment.id}"
    decision = root.decide("delete", subject, reason="hate", text="Rule 4.")
    bob.appeal(decision.id, "It was irony.")
    lines = entry_lines(shell, subject)
    assert "    the comment was deleted" in lines
    assert lines[-2:] == [
        "      decision by root: delete hate: Rule 4.",
        "      appeal: It was irony.",
    ]
    assert shell.run("decide", "dismiss", subject, *ADMIN).stdout.endswith(f"  dismiss {subject}\n")
    assert entry_lines(shell, subject) == []


def test_the_queue_is_json_for_programs_and_pages_lead_on(
    shell: Shell, alice: ImagePosterClient, bob: ImagePosterClient
) -> None:
    posts = [new_post(alice), new_post(alice)]
    for post in posts:
        bob.report(post.id, "spam")
    first = json.loads(shell.run("moderation", "--limit", "1", "--json", *ADMIN).stdout)
    assert len(first["entries"]) == 1
    shown = shell.run("moderation", "--limit", "1", *ADMIN).stdout
    assert f"more: --cursor {first['next']}" in shown
    second = ("moderation", "--limit", "1", "--cursor", first["next"], "--json", *ADMIN)
    entries = first["entries"] + json.loads(shell.run(*second).stdout)["entries"]
    assert [entry["post"]["id"] for entry in entries] == [post.id for post in posts]
    for post in posts:
        shell.run("decide", "dismiss", post.id, *ADMIN)
    assert shell.run("moderation", *ADMIN).stdout == "the queue is empty\n"


def test_decisions_that_are_refused_exit_1(shell: Shell, alice: ImagePosterClient) -> None:
    post = new_post(alice)
    assert "admins_only" in shell.run("moderation", "--as", "alice", code=1).stderr
    hide = ("decide", "hide", post.id)
    assert "reason: is required" in shell.run(*hide, *ADMIN, code=1).stderr
    refused = shell.run(*hide, "--reason", "spam", "--as", "alice", code=1).stderr
    assert "admins_only" in refused
    assert "decision_conflict" in shell.run("decide", "dismiss", post.id, *ADMIN, code=1).stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("decide", "reject", "01P"), "Invalid value for '{hide|restore"),
        (("decide", "hide", "users:bob"), "is no POST_ID, POST_ID/COMMENT_ID or user:NAME."),
        (("decide", "ban", "bob", "--reason", "spam"), "needs a user as SUBJECT: user:NAME"),
        (("decide", "hide", "01P", "--reason", "ugly"), "Invalid value for '--reason'"),
        (
            ("decide", "ban", "user:bob", "--until", "tomorrow"),
            "is not a time with its zone, such as 2031-01-31T12:00:00Z.",
        ),
        (("moderation", "--limit", "0"), "Invalid value for '--limit'"),
    ],
)
def test_wrong_usage_exits_2(shell: Shell, words: tuple[str, ...], sentence: str) -> None:
    assert sentence in shell.run(*words, code=2).stderr


def test_the_client_appeals_blocks_and_lists(
    alice: ImagePosterClient, bob: ImagePosterClient, root: ImagePosterClient
) -> None:
    post, other = new_post(alice), new_post(alice)
    report = bob.report(post.id, "nudity")
    assert bob.report(post.id, "nudity").id == report.id
    decision = root.decide("hide", post.id, reason="nudity")
    (closed,) = bob.iterate(bob.reports)
    assert (closed.status, closed.outcome) == ("closed", "hidden")
    appeal = alice.appeal(decision.id, "This is art.")
    with pytest.raises(RefusedError, match="appeal_made"):
        alice.appeal(decision.id, "It is.")
    (entry,) = (item for item in root.iterate(root.moderation_queue) if item.subject == post.id)
    assert entry.kind == "appeal"
    assert entry.appeal is not None
    assert (entry.appeal.text, entry.appeal.created_at) == (appeal.text, appeal.created_at)
    assert entry.appeal.decision == decision
    root.decide("dismiss", post.id)
    (own,) = (item for item in alice.iterate(alice.my_decisions) if item.action == "hide")
    assert own.appeal is not None
    assert own.appeal.outcome == "dismissed"
    assert [item.id for item in alice.iterate(alice.my_posts, status="hidden")] == [post.id]
    assert next(iter(root.iterate(root.decisions))).action == "dismiss"
    bob.block(name_of(alice))
    assert [block.user for block in bob.blocks().blocks] == [name_of(alice)]
    with pytest.raises(RefusedError, match="blocked"):
        bob.comment(other.id, "Hello")
    ids = {item.id for item in bob.iterate(bob.my_feed, limit=100)}
    assert other.id not in ids
    bob.unblock(name_of(alice))
    written = bob.comment(other.id, "Hello")
    assert [item.id for item in bob.iterate(bob.my_comments)] == [written.id]


def test_a_hidden_image_is_downloaded_by_its_creator_and_by_admins_only(
    alice: ImagePosterClient, bob: ImagePosterClient, root: ImagePosterClient
) -> None:
    post = new_post(alice)
    public = io.BytesIO()
    bob.download_rendition(bob.show(post.id), public)
    root.decide("hide", post.id, reason="spam")
    for client, refusal in ((alice, "image_not_found"), (root, "admins_only")):
        shown = client.show(post.id)
        assert shown.image is not None
        copy = io.BytesIO()
        client.download_rendition(shown, copy)
        assert copy.getvalue() == public.getvalue()
        with pytest.raises(RefusedError, match=refusal):
            bob.download_rendition(shown, io.BytesIO())
    original = io.BytesIO()
    assert alice.download_original(post.id, original) == len(IMAGE)
    assert original.getvalue() == IMAGE
    with pytest.raises(RefusedError, match="not_yours"):
        root.download_original(post.id, io.BytesIO())


def test_an_account_is_deleted_only_by_its_name(alice: ImagePosterClient) -> None:
    post = new_post(alice)
    with pytest.raises(RefusedError, match="confirm"):
        alice.delete_account("somebody else")
    assert alice.show(post.id).id == post.id
    alice.delete_account(name_of(alice))
    with pytest.raises(RefusedError, match="post_not_found"):
        alice.show(post.id)
