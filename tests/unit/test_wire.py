"""What is stored and what goes over the wire are two things."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.ports.suite import a_comment, a_post
from image_poster.adapters.memory import ManualClock
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.comments import Comment, decode_comment, encode_comment
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    Post,
    decode_post,
    encode_post,
    failed_post,
    published_post,
)
from image_poster.http import comments, posts
from image_poster.http.responses import WireBodies
from support.renderer import RENDERED

TEXTS = st.text(max_size=30)


class RenamedComment(msgspec.Struct, frozen=True):
    """A wire in which `content` is called `text`."""

    id: str
    post_id: str
    creator: str
    content: str = msgspec.field(name="text")
    created_at: str = ""
    edited_at: str | None = None


def renamed(document: bytes) -> bytes:
    found = decode_comment(document)
    return msgspec.json.encode(msgspec.convert(found, RenamedComment, from_attributes=True))


@given(content=TEXTS, creator=TEXTS, edited=st.none() | TEXTS)
def test_a_ready_made_comment_is_what_converting_it_would_give(
    content: str, creator: str, edited: str | None
) -> None:
    comment = Comment("01C", "01P", creator, content, "now", edited)
    document = encode_comment(comment)
    assert comments.comment_body(document) == comments.convert_comment(document)


@given(caption=TEXTS, alt=TEXTS, state=st.sampled_from(["processing", "ready", "failed"]))
def test_a_ready_made_post_is_what_converting_it_would_give(
    caption: str, alt: str, state: str
) -> None:
    post = msgspec.structs.replace(a_post(), caption=caption, alt=alt)
    if state != "processing":
        post = (
            published_post(post, RENDERED)
            if state == "ready"
            else failed_post(post, PROCESSING_FAILED)
        )
    document = encode_post(post)
    assert posts.wire.body(document) == posts.convert_head(document)


@pytest.mark.parametrize("stored", [encode_post(a_post()), encode_comment(a_comment("01P"))])
def test_a_stored_document_says_its_format_first(stored: bytes) -> None:
    assert stored.startswith(b'{"v":1,')


def test_documents_from_before_formats_were_numbered_are_shown_like_others() -> None:
    post, comment = encode_post(a_post()), encode_comment(a_comment("01P"))
    unnumbered = [b"{" + document.removeprefix(b'{"v":1,') for document in (post, comment)]
    assert posts.wire.body(unnumbered[0]) == posts.wire.body(post)
    assert comments.comment_body(unnumbered[1]) == comments.comment_body(comment)
    assert (decode_post(unnumbered[0]), decode_comment(unnumbered[1])) == (
        msgspec.json.decode(post, type=Post),
        msgspec.json.decode(comment, type=Comment),
    )


@pytest.mark.anyio
async def test_a_field_gets_another_name_on_the_wire_and_no_stored_row_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, clock = Database(tmp_path / "rows.db"), ManualClock()
    store, post = SqlitePostStore(database, clock), a_post()
    await store.add(post)
    await store.update(post.id, lambda found: published_post(found, RENDERED))
    await SqliteCommentStore(database, clock).add(a_comment(post.id, content="as it was"))
    rows = database.read("SELECT head, latest FROM posts")
    monkeypatch.setattr(comments, "wire", WireBodies(None, renamed))
    stored = await store.find(post.id)
    assert stored is not None
    (shown,) = msgspec.json.decode(posts.post_body(stored, 2))["latest_comments"]
    assert shown["text"] == "as it was"
    assert not shown.keys() & {"content", "v"}
    assert database.read("SELECT head, latest FROM posts") == rows
    await database.close()
