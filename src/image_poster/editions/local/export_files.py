"""The files of an export: their names and lines, and the check of lines that are imported."""

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from image_poster.domain.comments import Comment
from image_poster.domain.errors import ValidationFailedError
from image_poster.domain.ids import PATTERN, is_id
from image_poster.domain.limits import Limits, clean_required
from image_poster.domain.posts import PostStatus, PostTexts
from image_poster.editions import StartError

POSTS_NAME, COMMENTS_NAME, ORIGINALS_NAME = "posts.jsonl", "comments.jsonl", "originals"
WITHHELD_NAME, WITHHELD_FOLDER = "withheld.jsonl", "withheld"
README_NAME = "README.txt"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_MAX_CREATOR_CHARACTERS = 255


README = """Posts, comments and images of image-poster-api.

posts.jsonl     one post a line, in JSON: id (ULID), creator, texts, times (RFC 3339, UTC), and its
                image: its file in this folder, its bytes, and the SHA-256 of its content
comments.jsonl  one comment a line, likewise, with the id of its post
originals/      the images as they were sent; they may contain the place of the photo (GPS)
withheld.jsonl  if there are any: posts that are hidden, in review or rejected, with their status,
                without comments
withheld/       their images as they were sent

`image-poster import FOLDER` imports posts.jsonl with its comments and images: all of these become
public. It does not import withheld.jsonl. A repeated import changes nothing.
"""


class ExportedImage(msgspec.Struct, frozen=True):
    """The original's path in the export, its bytes, and the SHA-256 of its content, in
    hexadecimal."""

    file: str
    size: int
    sha256: str


class ExportedPost(msgspec.Struct, frozen=True):
    """A post whose image is there."""

    id: str
    creator: str
    creator_name: str
    caption: str
    alt: str
    created_at: str
    edited_at: str | None
    image: ExportedImage


class WithheldPost(ExportedPost, frozen=True, kw_only=True):
    """A post that is not public by a decision or a review, or a rejected one."""

    status: PostStatus


class ExportedComment(msgspec.Struct, frozen=True):
    """A comment on one of the posts."""

    id: str
    post_id: str
    creator: str
    creator_name: str
    content: str
    created_at: str
    edited_at: str | None


Line = TypeVar("Line", ExportedPost, ExportedComment)


def encode_line(kind: type[msgspec.Struct], source: msgspec.Struct, **fields: object) -> bytes:
    """One line of JSON of this `kind`, with its values from `fields`, or else from `source`."""
    names = set(kind.__struct_fields__) - fields.keys()
    values = {name: getattr(source, name) for name in names} | fields
    return msgspec.json.encode(kind(**values)) + b"\n"


def comment_of(exported: ExportedComment, limits: Limits) -> Comment:
    """The comment with its cleaned text. Raises `ValidationFailedError`."""
    content = clean_required("content", exported.content, longest=limits.comment_characters)
    return Comment(**msgspec.structs.asdict(exported) | {"content": content})


def read_lines(path: Path, kind: type[Line], limits: Limits) -> Iterator[Line]:
    """The non-blank lines of a file, after a byte order mark. Raises `StartError` that names the
    invalid line."""
    decode = msgspec.json.Decoder(kind).decode
    with path.open("rb") as file:
        for number, content in enumerate(file, 1):
            text = content.removeprefix(BOM_UTF8)
            if not text.strip():
                continue
            try:
                line = decode(text)
                _check_line(line, limits)
            except (ValueError, RecursionError, ValidationFailedError) as exc:
                raise StartError(f"{path}, line {number}: {exc}.") from exc
            yield line


def _check_line(line: ExportedPost | ExportedComment, limits: Limits) -> None:
    """Raises `ValueError` and `ValidationFailedError`."""
    for id_ in (line.id, getattr(line, "post_id", line.id)):
        if not is_id(id_):
            raise ValueError(f"{id_!r} is no id: it must match {PATTERN}")
    for name in (line.creator, line.creator_name):
        if not name or len(name) > _MAX_CREATOR_CHARACTERS or not name.isprintable():
            raise ValueError(f"{name[:50]!r} is no name of a creator")
    for time in (line.created_at, line.edited_at):
        if time is not None and not _TIME.fullmatch(time):
            raise ValueError(f"{time!r} is no time such as 2026-11-25T12:00:00.000Z")
    if isinstance(line, ExportedComment):
        comment_of(line, limits)
        return
    PostTexts(line.caption, line.alt).checked(limits)
    if line.image.size > limits.image_bytes:
        raise ValueError(f"the image has more than image_bytes ({limits.image_bytes:,})")
