"""`image-poster import`: an export of `image-poster export`, into a data folder (`export.py`)."""

import hashlib
import os
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from image_poster.adapters.sqlite.rebuild import SqliteCommentImporter
from image_poster.domain.comments import Comment
from image_poster.domain.errors import ValidationFailedError
from image_poster.domain.ids import PATTERN, is_id
from image_poster.domain.limits import Limits
from image_poster.domain.posts import Post, PostStatus, PostTexts
from image_poster.domain.texts import clean_required
from image_poster.editions import StartError
from image_poster.editions.local.container import Container
from image_poster.editions.local.export import (
    COMMENTS_NAME,
    ORIGINALS_NAME,
    POSTS_NAME,
    REPORT_EVERY,
    ExportedComment,
    ExportedPost,
    Report,
    read_chunks,
)
from image_poster.editions.local.failures import failures_as_sentences
from image_poster.editions.local.folder_check import create_database
from image_poster.editions.local.operate import with_container
from image_poster.editions.local.ownership import act_as_owner, user_name
from image_poster.editions.local.settings import Settings

_COMMENTS_AT_A_TIME = 500
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_MAX_CREATOR_CHARACTERS = 255

Line = TypeVar("Line", bound=msgspec.Struct)


class ImportReport(NamedTuple):
    """The numbers of new posts, new comments, and posts that had been deleted here."""

    posts: int
    comments: int
    deleted: int


def import_(settings: Settings, source: Path, report: Report) -> ImportReport:
    """Import an export. Ids, times and creators are kept; a server makes the renditions anew.
    Everything is checked before the first write. Existing posts stay unchanged, and posts that were
    deleted here stay deleted. Raises `StartError`."""
    act_as_owner(settings.data_dir)
    owner = f"{user_name(os.geteuid())}, the owner of the data folder,"
    advice = f"{owner} must be able to read {source}. Then run the command again."
    with failures_as_sentences(f"the import of {source} broke off", advice):
        if not (source / POSTS_NAME).exists():
            raise StartError(f"{source} is no export: it has no {POSTS_NAME}.")
        for post in _lines(source / POSTS_NAME, ExportedPost, _checked_post(settings)):
            with _image(source, post):
                pass
        for _ in _lines(source / COMMENTS_NAME, ExportedComment, _checked_comment(settings)):
            pass
        create_database(settings.data_dir, report)
        return with_container(settings, lambda container: _take(container, source, report))


async def _take(container: Container, source: Path, report: Report) -> ImportReport:
    taken, deleted = 0, 0
    for number, post in enumerate(_lines(source / POSTS_NAME, ExportedPost), 1):
        if await container.services.stores.posts.was_deleted(post.id):
            deleted += 1
        else:
            taken += await _take_post(container, source, post)
        if number % REPORT_EVERY == 0:
            report(f"{number:,} posts")
    comments = 0
    importer = SqliteCommentImporter(container.database, container.services.stores.clock)
    found = _lines(source / COMMENTS_NAME, ExportedComment)
    for post_id, of_post in groupby(found, key=lambda one: one.post_id):
        while batch := [*islice(of_post, _COMMENTS_AT_A_TIME)]:
            made = [_comment(one, container.settings.limits) for one in batch]
            comments += await importer.add(post_id, made)
    return ImportReport(taken, comments, deleted)


def _comment(exported: ExportedComment, limits: Limits) -> Comment:
    content = clean_required("content", exported.content, longest=limits.comment_characters)
    return Comment(**msgspec.structs.asdict(exported) | {"content": content})


async def _take_post(container: Container, source: Path, post: ExportedPost) -> bool:
    """Import a post, its image first, so that no row lacks its image. Returns True if the post is
    new."""
    stores = container.services.stores
    known = await stores.posts.find(post.id)
    if known is None or not await container.images.has_original(post.id):
        staged = stores.images.stage(post.id)
        try:
            with _image(source, post) as file:
                digest = hashlib.sha256()
                for chunk in read_chunks(file):
                    digest.update(chunk)
                    await staged.write(chunk)
            if digest.hexdigest() != post.image.sha256:
                raise StartError(f"{source / post.image.file} is not the image that was exported.")
            await staged.commit()
        finally:
            await staged.discard()
    if known is None:
        fields = {name: getattr(post, name) for name in ExportedPost.__struct_fields__[:-1]}
        fields |= PostTexts(post.caption, post.alt).checked(container.settings.limits)._asdict()
        await stores.posts.add(Post(status=PostStatus.PROCESSING, **fields))
    return known is None


@contextmanager
def _image(source: Path, post: ExportedPost) -> Iterator[BinaryIO]:
    """Open the post's original. Raises `StartError` if it is missing, or has another size."""
    folder, _, name = post.image.file.partition("/")
    path = source / post.image.file
    if (
        folder != ORIGINALS_NAME
        or Path(name).name != name
        or path.is_symlink()
        or not path.is_file()
    ):
        raise StartError(f"the image {post.image.file} of {post.id} is not in {source}.")
    if path.stat().st_size != post.image.size:
        raise StartError(f"{path} is not the image that was exported: it has another size.")
    with path.open("rb") as file:
        yield file


def _lines(
    path: Path, kind: type[Line], check: Callable[[Line], None] = lambda _: None
) -> Iterator[Line]:
    """The non-blank lines of a file, after a byte order mark. Raises `StartError` that names the
    invalid line."""
    decode = msgspec.json.Decoder(kind).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(BOM_UTF8)
            if not text.strip():
                continue
            try:
                found = decode(text)
                check(found)
            except (ValueError, RecursionError, ValidationFailedError) as exc:
                raise StartError(f"{path}, line {number}: {exc}.") from exc
            yield found


def _checked_post(settings: Settings) -> Callable[[ExportedPost], None]:
    def check(post: ExportedPost) -> None:
        _check_ids(post.id)
        _check_origin(post)
        PostTexts(post.caption, post.alt).checked(settings.limits)
        if post.image.size > settings.limits.image_bytes:
            raise ValueError(f"the image has more than image_bytes ({settings.image_bytes:,})")

    return check


def _checked_comment(settings: Settings) -> Callable[[ExportedComment], None]:
    def check(comment: ExportedComment) -> None:
        _check_ids(comment.id, comment.post_id)
        _check_origin(comment)
        clean_required("content", comment.content, longest=settings.limits.comment_characters)

    return check


def _check_ids(*ids: str) -> None:
    for one in ids:
        if not is_id(one):
            raise ValueError(f"{one!r} is no id: it must match {PATTERN}")


def _check_origin(line: ExportedPost | ExportedComment) -> None:
    for name in (line.creator, line.creator_name):
        if not name or len(name) > _MAX_CREATOR_CHARACTERS or not name.isprintable():
            raise ValueError(f"{name[:50]!r} is no name of a creator")
    for time in (line.created_at, line.edited_at):
        if time is not None and not _TIME.fullmatch(time):
            raise ValueError(f"{time!r} is no time such as 2026-11-25T12:00:00.000Z")
