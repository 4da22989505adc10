"""`image-poster export` and `import`: posts, comments and originals in plain files that anybody can
read, and that any later version can take in.

    README.txt                what is where, for who finds it
    posts.jsonl               a post a line, in JSON (`ExportedPost`), by id
    comments.jsonl            a comment a line, in JSON (`ExportedComment`), by post and id
    originals/{id}.{kind}     the untouched images

What can be made anew, renditions and counts, is not in it; keys and tokens are not either. The file
`posts.jsonl` is written last: without it, it is no export.
"""

import hashlib
import os
import re
import sqlite3
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import msgspec

from image_poster.adapters.files.confined import ConfinedFolder
from image_poster.adapters.files.durable import ensure_folder, sync
from image_poster.adapters.files.schema import original_name
from image_poster.adapters.sqlite.imports import SqliteCommentImporter
from image_poster.domain.comments import Comment, decode_comment
from image_poster.domain.errors import ValidationFailedError
from image_poster.domain.ids import PATTERN, is_id
from image_poster.domain.images import SNIFF_BYTES, sniff
from image_poster.domain.limits import Limits, clean_required
from image_poster.domain.posts import Post, PostStatus, PostTexts, decode_post
from image_poster.editions import StartError
from image_poster.editions.local.backup_checks import require_apart
from image_poster.editions.local.container import Container
from image_poster.editions.local.data_folder import database_path
from image_poster.editions.local.failures import failures_as_sentences
from image_poster.editions.local.folder_check import create_database
from image_poster.editions.local.operate import with_container
from image_poster.editions.local.ownership import act_as_owner, user_name
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import SIDE_FILES, copy_database

_POSTS, _COMMENTS, _ORIGINALS = "posts.jsonl", "comments.jsonl", "originals"
_README_NAME = "README.txt"
_ADVICE = "Delete that folder, and run the command again."
_CHUNK_BYTES = 1 << 20
_COMMENTS_AT_A_TIME = 500
_REPORT_EVERY = 500
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_MAX_CREATOR_CHARACTERS = 255
_README = """Posts, comments and images of image-poster-api.

posts.jsonl     one post a line, in JSON: id (ULID), creator, texts, times (RFC 3339, UTC), and its
                image: its file in this folder, its bytes, and the SHA-256 of its content
comments.jsonl  one comment a line, likewise, with the id of its post
originals/      the images as they were sent; they may hold where they were taken

`image-poster import FOLDER` takes all this in; importing it again changes nothing.
"""

Report = Callable[[str], None]
Line = TypeVar("Line", bound=msgspec.Struct)


class ExportedImage(msgspec.Struct, frozen=True):
    """Where the original is, its bytes, and the SHA-256 of its content, in hexadecimal."""

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


class Exported(NamedTuple):
    """How many posts and comments were written, and posts whose original is missing."""

    posts: int
    comments: int
    incomplete: list[str]


class Imported(NamedTuple):
    """How many posts and comments were new, and how many posts had been deleted here."""

    posts: int
    comments: int
    deleted: int


def export(data_dir: Path, target: Path, report: Report) -> Exported:
    """Write all posts that have an image, and their comments, as they are at one moment, into an
    empty folder; beside a running server or without one. Raises `StartError`."""
    source = database_path(data_dir)
    if not source.exists():
        raise StartError(f"there is no database in {data_dir}: pass --data-dir, or mount its disk.")
    require_apart(data_dir, target)
    os.umask(0o077)
    snapshot = target / ".snapshot.db"
    with failures_as_sentences(f"the export to {target} broke off", _ADVICE):
        _require_empty(target)
        ensure_folder(target / _ORIGINALS)
        try:
            copy_database(source, snapshot)
            with (
                closing(sqlite3.connect(snapshot)) as connection,
                ConfinedFolder(data_dir, follow_folders=True) as folder,
            ):
                return _write(connection, folder, target, report)
        finally:
            for suffix in ("", *SIDE_FILES):
                snapshot.with_name(f"{snapshot.name}{suffix}").unlink(missing_ok=True)


def _require_empty(target: Path) -> None:
    names = {path.name for path in target.iterdir()} if target.exists() else set()
    if not names - {"lost+found"}:
        return
    if _README_NAME in names and _POSTS not in names:
        raise StartError(f"{target} holds an export that broke off: delete it, or name another.")
    raise StartError(f"{target} is not empty: export into a folder of its own.")


def _write(
    connection: sqlite3.Connection, folder: ConfinedFolder, target: Path, report: Report
) -> Exported:
    with (target / _README_NAME).open("x") as readme:
        readme.write(_README)
    incomplete, comments, lines = [], 0, []
    with (target / _COMMENTS).open("xb") as file:
        for number, (head,) in enumerate(_heads(connection), 1):
            post = decode_post(head)
            image = _copied(folder, target, post.id, report)
            if image is None:
                incomplete.append(post.id)
                continue
            lines.append(msgspec.json.encode(_exported_post(post, image)))
            comments += _write_comments(connection, post.id, file)
            if number % _REPORT_EVERY == 0:
                report(f"{number:,} posts")
    with (target / _POSTS).open("xb") as posts:
        posts.writelines(line + b"\n" for line in lines)
    os.sync()
    sync(target)
    return Exported(len(lines), comments, incomplete)


def _heads(connection: sqlite3.Connection) -> Iterator[tuple[bytes]]:
    return connection.execute(
        "SELECT head FROM posts WHERE status <> 'awaiting_upload' ORDER BY id"
    )


def _copied(
    folder: ConfinedFolder, target: Path, post_id: str, report: Report
) -> ExportedImage | None:
    """Copy a post's original; None if it is missing, or cannot be read, while others may be."""
    try:
        source = folder.open(original_name(post_id))
        start = source.read(SNIFF_BYTES)
    except FileNotFoundError:
        return None
    except OSError as exc:
        report(f"{original_name(post_id)} cannot be read: {exc}")
        return None
    with source:
        kind = sniff(start)
        source.seek(0)
        name = f"{_ORIGINALS}/{post_id}.{kind.rpartition('/')[2] if kind else 'bin'}"
        with (target / name).open("xb") as copy:
            digest = hashlib.sha256()
            for chunk in _chunks(source):
                copy.write(chunk)
                digest.update(chunk)
            return ExportedImage(name, copy.tell(), digest.hexdigest())


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _exported_post(post: Post, image: ExportedImage) -> ExportedPost:
    return ExportedPost(
        id=post.id,
        creator=post.creator,
        creator_name=post.creator_name,
        caption=post.caption,
        alt=post.alt,
        created_at=post.created_at,
        edited_at=post.edited_at,
        image=image,
    )


def _write_comments(connection: sqlite3.Connection, post_id: str, file: BinaryIO) -> int:
    count = 0
    for (doc,) in connection.execute(
        "SELECT doc FROM comments WHERE post_id = ? ORDER BY id", (post_id,)
    ):
        fields = msgspec.structs.asdict(decode_comment(doc))
        file.write(msgspec.json.encode(ExportedComment(**fields)) + b"\n")
        count += 1
    return count


def import_(settings: Settings, source: Path, report: Report) -> Imported:
    """Take an export in: ids, times and creators are kept, renditions are made anew by whoever
    serves. Everything is checked before anything is taken. What is here already stays as it is, and
    what was deleted here stays deleted. Raises `StartError`."""
    act_as_owner(settings.data_dir)
    owner = f"{user_name(os.geteuid())}, the owner of the data folder,"
    advice = f"{owner} must be able to read {source}. Then run the command again."
    with failures_as_sentences(f"the import of {source} broke off", advice):
        if not (source / _POSTS).exists():
            raise StartError(f"{source} is no export: it has no {_POSTS}.")
        for post in _lines(source / _POSTS, ExportedPost, _checked_post(settings)):
            with _image(source, post):
                pass
        for _ in _lines(source / _COMMENTS, ExportedComment, _checked_comment(settings)):
            pass
        create_database(settings.data_dir)
        return with_container(settings, lambda container: _take(container, source, report))


async def _take(container: Container, source: Path, report: Report) -> Imported:
    taken, deleted = 0, 0
    for number, post in enumerate(_lines(source / _POSTS, ExportedPost), 1):
        if await container.services.stores.posts.was_deleted(post.id):
            deleted += 1
        else:
            taken += await _take_post(container, source, post)
        if number % _REPORT_EVERY == 0:
            report(f"{number:,} posts")
    comments = 0
    importer = SqliteCommentImporter(container.database, container.services.stores.clock)
    found = _lines(source / _COMMENTS, ExportedComment)
    for post_id, of_post in groupby(found, key=lambda one: one.post_id):
        while batch := [*islice(of_post, _COMMENTS_AT_A_TIME)]:
            made = [_comment(one, container.settings.limits) for one in batch]
            comments += await importer.add(post_id, made)
    return Imported(taken, comments, deleted)


def _comment(exported: ExportedComment, limits: Limits) -> Comment:
    content = clean_required("content", exported.content, longest=limits.comment_characters)
    return Comment(**msgspec.structs.asdict(exported) | {"content": content})


async def _take_post(container: Container, source: Path, post: ExportedPost) -> bool:
    """The image first: never a row without it. Whether the post is new."""
    stores = container.services.stores
    known = await stores.posts.find(post.id)
    if known is None or not await container.images.has_original(post.id):
        staged = stores.images.stage(post.id)
        try:
            with _image(source, post) as file:
                digest = hashlib.sha256()
                for chunk in _chunks(file):
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
    """The post's original. Raises `StartError` if it is not there, or has another size."""
    folder, _, name = post.image.file.partition("/")
    path = source / post.image.file
    if folder != _ORIGINALS or Path(name).name != name or path.is_symlink() or not path.is_file():
        raise StartError(f"the image {post.image.file} of {post.id} is not in {source}.")
    if path.stat().st_size != post.image.size:
        raise StartError(f"{path} is not the image that was exported: it has another size.")
    with path.open("rb") as file:
        yield file


def _lines(
    path: Path, kind: type[Line], check: Callable[[Line], None] = lambda _: None
) -> Iterator[Line]:
    """The lines of a file that are not blank, after a byte order mark. Raises `StartError`, which
    names the line that cannot be."""
    decode = msgspec.json.Decoder(kind).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(BOM_UTF8)
            if not text.strip():
                continue
            try:
                found = decode(text)
                check(found)
            except (msgspec.MsgspecError, ValueError, ValidationFailedError) as exc:
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
