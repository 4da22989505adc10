"""`image-poster export` and `import`: posts, comments and originals as plain files, which any later
version can read.

- `README.txt`: a description of the files
- `posts.jsonl`: a post a line, in JSON (`ExportedPost`), by id
- `comments.jsonl`: a comment a line, in JSON (`ExportedComment`), by post and id
- `originals/{id}.{kind}`: the untouched images

An export has no renditions and no counts, which can be derived anew, and no keys or tokens. The
file `posts.jsonl` is written last: without it, the folder is no export.
"""

import hashlib
import os
import re
import sqlite3
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from image_poster.adapters.files.filesystem import ConfinedFolder
from image_poster.adapters.files.schema import original_name
from image_poster.adapters.sqlite.feed import SqliteCommentImporter
from image_poster.adapters.sqlite.posts import SqlitePostStore
from image_poster.domain.comments import Comment, decode_comment
from image_poster.domain.errors import ValidationFailedError
from image_poster.domain.ids import PATTERN, is_id
from image_poster.domain.images import SNIFF_BYTES, sniff
from image_poster.domain.limits import Limits, clean_required
from image_poster.domain.posts import Post, PostStatus, PostTexts, decode_post
from image_poster.editions import StartError
from image_poster.editions.local import snapshot
from image_poster.editions.local.container import Container, run_in_container
from image_poster.editions.local.data_folder import OF_FILE_SYSTEM, create_database
from image_poster.editions.local.ownership import act_as_owner, user_name
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import ReportProgress

POSTS_NAME, COMMENTS_NAME, ORIGINALS_NAME = "posts.jsonl", "comments.jsonl", "originals"
_README_NAME, _DATABASE_NAME = "README.txt", ".snapshot.db"
_ADVICE = "Delete that folder, and run the command again."
_COMMENTS_AT_A_TIME = 500
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_MAX_CREATOR_CHARACTERS = 255
_README = """Posts, comments and images of image-poster-api.

posts.jsonl     one post a line, in JSON: id (ULID), creator, texts, times (RFC 3339, UTC), and its
                image: its file in this folder, its bytes, and the SHA-256 of its content
comments.jsonl  one comment a line, likewise, with the id of its post
originals/      the images as they were sent; they may contain the place of the photo (GPS)

`image-poster import FOLDER` imports these files. A repeated import changes nothing.
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


class ExportedComment(msgspec.Struct, frozen=True):
    """A comment on one of the posts."""

    id: str
    post_id: str
    creator: str
    creator_name: str
    content: str
    created_at: str
    edited_at: str | None


class ExportReport(NamedTuple):
    """The numbers of exported posts and comments, and the posts without an original."""

    posts: int
    comments: int
    incomplete: list[str]


def export(data_dir: Path, target: Path, report: ReportProgress) -> ExportReport:
    """Write all posts that have an image, and their comments, into an empty folder. The files show
    the database at one moment. Works beside a running server or without one. Raises
    `StartError`."""
    snapshot.require_source(data_dir, target)
    with snapshot.failures_as_sentences(f"the export to {target} failed", _ADVICE):
        _require_empty(target)
        with snapshot.open_folders(data_dir, target) as (source, place):
            try:
                with snapshot.open_database_copy(source, place, _DATABASE_NAME) as database:
                    return _write(database, source, place, report)
            finally:
                for suffix in ("", *snapshot.SIDE_FILES):
                    place.remove(f"{_DATABASE_NAME}{suffix}")


def _require_empty(target: Path) -> None:
    names = {path.name for path in target.iterdir()} if target.exists() else set()
    if names <= OF_FILE_SYSTEM:
        return
    if _README_NAME in names and POSTS_NAME not in names:
        raise StartError(f"{target} holds an incomplete export: delete it, or name another.")
    raise StartError(f"{target} is not empty: export into a folder of its own.")


def _write(
    database: sqlite3.Connection,
    source: ConfinedFolder,
    target: ConfinedFolder,
    report: ReportProgress,
) -> ExportReport:
    target.create_folder(ORIGINALS_NAME)
    with target.create(_README_NAME) as readme:
        readme.write(_README.encode())
    incomplete, comments, lines = [], 0, []
    with target.create(COMMENTS_NAME) as file:
        for head in snapshot.report_progress(_heads(database), report, "posts"):
            post = decode_post(head)
            image = _copy_original(source, target, post.id, report)
            if image is None:
                incomplete.append(post.id)
                continue
            lines.append(_line(ExportedPost, post, image=image))
            comments += _write_comments(database, post.id, file)
    with target.create(POSTS_NAME) as posts:
        posts.writelines(lines)
    target.sync_disk()
    return ExportReport(len(lines), comments, incomplete)


def _heads(database: sqlite3.Connection) -> Iterator[bytes]:
    """The JSON of each post that has an image, by id."""
    rows = database.execute("SELECT head FROM posts WHERE status <> 'awaiting_upload' ORDER BY id")
    return (head for (head,) in rows)


def _copy_original(
    source: ConfinedFolder, target: ConfinedFolder, post_id: str, report: ReportProgress
) -> ExportedImage | None:
    """Copy a post's original; None if it is missing, or if this one file cannot be read."""
    path, name = original_name(post_id), ""
    try:
        with snapshot.read_errors():
            file = source.open(path)
        with file:
            with snapshot.read_errors():
                kind = sniff(file.read(SNIFF_BYTES))
            file.seek(0)
            name = f"{ORIGINALS_NAME}/{post_id}.{kind.rpartition('/')[2] if kind else 'bin'}"
            copy = snapshot.copy_file(file, target, name)
    except FileNotFoundError:
        return None
    except snapshot.UnreadableError as exc:
        report(f"{path} cannot be read: {exc.strerror}")
        if name:
            target.remove(name)
        return None
    return ExportedImage(name, copy.size, copy.sha256)


def _line(kind: type[msgspec.Struct], source: msgspec.Struct, **fields: object) -> bytes:
    """One line of JSON of this `kind`, with its values from `fields`, or else from `source`."""
    names = set(kind.__struct_fields__) - fields.keys()
    values = {name: getattr(source, name) for name in names} | fields
    return msgspec.json.encode(kind(**values)) + b"\n"


def _write_comments(database: sqlite3.Connection, post_id: str, file: BinaryIO) -> int:
    count = 0
    for (doc,) in database.execute(
        "SELECT doc FROM comments WHERE post_id = ? ORDER BY id", (post_id,)
    ):
        file.write(_line(ExportedComment, decode_comment(doc)))
        count += 1
    return count


Line = TypeVar("Line", ExportedPost, ExportedComment)


class ImportReport(NamedTuple):
    """The numbers of new posts, new comments, and posts that had been deleted here."""

    posts: int
    comments: int
    deleted: int


def import_(settings: Settings, source: Path, report: ReportProgress) -> ImportReport:
    """Import an export. Ids, times and creators are kept; a server makes the renditions anew.
    Everything is checked before the first write. Existing posts stay unchanged, and posts that were
    deleted here stay deleted. Raises `StartError`."""
    act_as_owner(settings.data_dir)
    owner = f"{user_name(os.geteuid())}, the owner of the data folder,"
    advice = f"{owner} must be able to read {source}. Then run the command again."
    with snapshot.failures_as_sentences(f"the import of {source} failed", advice):
        if not (source / POSTS_NAME).exists():
            raise StartError(f"{source} is no export: it has no {POSTS_NAME}.")
        for post in _lines(source / POSTS_NAME, ExportedPost, settings.limits):
            with _open_original(source, post):
                pass
        for _ in _lines(source / COMMENTS_NAME, ExportedComment, settings.limits):
            pass
        create_database(settings.data_dir, report)
        return run_in_container(settings, lambda container: _import(container, source, report))


async def _import(container: Container, source: Path, report: ReportProgress) -> ImportReport:
    added, deleted, limits = 0, 0, container.settings.limits
    posts = _lines(source / POSTS_NAME, ExportedPost, limits)
    for post in snapshot.report_progress(posts, report, "posts"):
        if await _was_deleted(container, post):
            deleted += 1
        else:
            added += await _import_post(container, source, post)
    importer = SqliteCommentImporter(container.database, container.services.stores.clock)
    lines, comments = _lines(source / COMMENTS_NAME, ExportedComment, limits), 0
    for post_id, of_post in groupby(lines, key=attrgetter("post_id")):
        while batch := [*islice(of_post, _COMMENTS_AT_A_TIME)]:
            comments += await importer.add(post_id, [_comment(line, limits) for line in batch])
    return ImportReport(added, comments, deleted)


async def _was_deleted(container: Container, post: ExportedPost) -> bool:
    """Return True if the post was deleted here, or its creator's account is being deleted."""
    stores = container.services.stores
    if await stores.posts.was_deleted(post.id):
        return True
    return (await stores.accounts.standing(post.creator)).is_deleting


def _comment(exported: ExportedComment, limits: Limits) -> Comment:
    content = clean_required("content", exported.content, longest=limits.comment_characters)
    return Comment(**msgspec.structs.asdict(exported) | {"content": content})


async def _import_post(container: Container, source: Path, post: ExportedPost) -> bool:
    """Import a post, its image first, so that no row lacks its image. Returns True if the post is
    new."""
    clock, notifier = container.services.stores.clock, container.notifier
    posts = SqlitePostStore(container.database, clock, notifier=notifier, while_banned=True)
    is_new = await posts.find(post.id) is None
    if is_new or not await container.images.has_original(post.id):
        await _import_original(container, source, post)
    if is_new:
        fields = {name: getattr(post, name) for name in ExportedPost.__struct_fields__[:-1]}
        fields |= PostTexts(post.caption, post.alt).checked(container.settings.limits)._asdict()
        await posts.add(Post(status=PostStatus.PROCESSING, **fields))
    return is_new


async def _import_original(container: Container, source: Path, post: ExportedPost) -> None:
    staged, digest = container.images.stage(post.id), hashlib.sha256()
    try:
        with _open_original(source, post) as file:
            for chunk in snapshot.read_chunks(file):
                digest.update(chunk)
                await staged.write(chunk)
        if digest.hexdigest() != post.image.sha256:
            raise StartError(f"{source / post.image.file} is not the image that was exported.")
        await staged.commit()
    finally:
        await staged.discard()


@contextmanager
def _open_original(source: Path, post: ExportedPost) -> Iterator[BinaryIO]:
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


def _lines(path: Path, kind: type[Line], limits: Limits) -> Iterator[Line]:
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
        _comment(line, limits)
        return
    PostTexts(line.caption, line.alt).checked(limits)
    if line.image.size > limits.image_bytes:
        raise ValueError(f"the image has more than image_bytes ({limits.image_bytes:,})")
