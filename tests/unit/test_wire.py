"""Stored documents and documents on the wire have separate types."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.ports.suite import a_comment, a_post
from fakes.clock import ManualClock
from image_poster.adapters.sqlite.comments import SqliteCommentStore
from image_poster.adapters.sqlite.database import Database
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.comments import Comment, decode_comment, edited_comment, encode_comment
from image_poster.domain.identity import Identity
from image_poster.domain.posts import (
    PROCESSING_FAILED,
    PostEdit,
    PostStatus,
    PostTexts,
    decode_post,
    edited_post,
    encode_post,
    failed_post,
    new_post,
    published_post,
)
from image_poster.http import comments, post_bodies
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
    comment = decode_comment(document)
    return msgspec.json.encode(msgspec.convert(comment, RenamedComment, from_attributes=True))


@given(content=TEXTS, creator=TEXTS, edited=st.none() | TEXTS)
def test_a_ready_made_comment_is_what_converting_it_would_give(
    content: str, creator: str, edited: str | None
) -> None:
    comment = Comment("01C", "01P", creator, content, "now", edited, creator.upper())
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
    assert post_bodies.wire.body(document) == post_bodies.convert_head(document)


@pytest.mark.parametrize("stored", [encode_post(a_post()), encode_comment(a_comment("01P"))])
def test_a_stored_document_says_its_format_first(stored: bytes) -> None:
    assert stored.startswith(b'{"v":2,')


def former(document: bytes, begins: bytes) -> bytes:
    """The document as it was before posts and comments had names."""
    decoded = msgspec.json.decode(document)
    fields = {name: decoded[name] for name in decoded if name not in ("v", "creator_name")}
    return begins + msgspec.json.encode(fields)[1:]


@pytest.mark.parametrize("begins", [b'{"v":1,', b"{"], ids=["format 1", "unnumbered"])
def test_documents_of_former_formats_are_shown_like_others(begins: bytes) -> None:
    post, comment = encode_post(a_post()), encode_comment(a_comment("01P"))
    older = [former(document, begins) for document in (post, comment)]
    assert post_bodies.wire.body(older[0]) == post_bodies.wire.body(post)
    assert comments.comment_body(older[1]) == comments.comment_body(comment)
    assert (decode_post(older[0]), decode_comment(older[1])) == (
        decode_post(post),
        decode_comment(comment),
    )
    assert encode_post(decode_post(older[0])) == post


def test_who_wrote_is_called_as_they_were_when_they_wrote() -> None:
    alice, later = Identity("a1", display_name="Alice"), Identity("a1", display_name="Alicia")
    post = new_post("01P", PostStatus.READY, alice, PostTexts("caption", ""), 0)
    edited = edited_post(post, later, PostEdit("another"), now="now")
    assert (edited.creator, edited.creator_name) == ("a1", "Alice")
    said = Comment("01C", "01P", "a1", "hello", "now", creator_name="Alice")
    assert edited_comment(said, later, content="hi", now="now").creator_name == "Alice"


@pytest.mark.anyio
async def test_a_field_gets_another_name_on_the_wire_and_no_stored_row_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, clock = Database(tmp_path / "rows.db"), ManualClock()
    store, post = SqlitePostStore(database, clock), a_post()
    await store.add(post)
    await store.update(post.id, lambda current: published_post(current, RENDERED))
    await SqliteCommentStore(database, clock).add(a_comment(post.id, content="as it was"))
    rows = database.read("SELECT head, latest FROM posts")
    monkeypatch.setattr(comments, "wire", WireBodies(None, renamed))
    stored = await store.find(post.id)
    assert stored is not None
    (shown,) = msgspec.json.decode(post_bodies.post_body(stored, 2))["latest_comments"]
    assert shown["text"] == "as it was"
    assert not shown.keys() & {"content", "v"}
    assert database.read("SELECT head, latest FROM posts") == rows
    await database.close()
