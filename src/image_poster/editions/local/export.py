"""`image-poster export` and `import`: posts, comments and originals as plain files, which any later
version can read.

- `README.txt`: a description of the files
- `posts.jsonl`: a post a line, in JSON (`ExportedPost`), by id
- `comments.jsonl`: a comment a line, in JSON (`ExportedComment`), by post and id
- `originals/{id}.{kind}`: the untouched images
- `withheld.jsonl`, `withheld/{id}.{kind}`: the posts that are hidden, in review or rejected, with
  their `status`, and their images. An import would publish them, so it does not read them

An export has no renditions and no counts, which can be derived anew, no reports and decisions, and
no keys or tokens. The file `posts.jsonl` is written last: without it, the folder is no export.
"""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from image_poster.adapters.files.filesystem import ConfinedFolder
from image_poster.adapters.files.schema import original_name
from image_poster.adapters.sqlite.maintenance import SqliteCommentImporter
from image_poster.domain.comments import decode_comment
from image_poster.domain.errors import AccountDeletedError, BannedError
from image_poster.domain.images import SNIFF_BYTES, sniff
from image_poster.domain.posts import Post, PostStatus, PostTexts, decode_post, is_withheld
from image_poster.editions import StartError
from image_poster.editions.local import snapshot
from image_poster.editions.local.container import Container, run_in_container
from image_poster.editions.local.data_folder import OF_FILE_SYSTEM, create_database
from image_poster.editions.local.export_files import (
    COMMENTS_NAME,
    ORIGINALS_NAME,
    POSTS_NAME,
    README,
    README_NAME,
    WITHHELD_FOLDER,
    WITHHELD_NAME,
    ExportedComment,
    ExportedImage,
    ExportedPost,
    WithheldPost,
    comment_of,
    encode_line,
    read_lines,
)
from image_poster.editions.local.ownership import act_as_owner, user_name
from image_poster.editions.local.settings import Settings
from image_poster.editions.local.snapshot import ReportProgress

_DATABASE_NAME = ".snapshot.db"
_ADVICE = "Delete that folder, and run the command again."
_COMMENTS_AT_A_TIME = 500


class ExportReport(NamedTuple):
    """The numbers of exported posts, of withheld ones and of comments, and the posts without an
    original."""

    posts: int
    withheld: int
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
    if README_NAME in names and POSTS_NAME not in names:
        raise StartError(f"{target} holds an incomplete export: delete it, or name another.")
    raise StartError(f"{target} is not empty: export into a folder of its own.")


def _write(
    database: sqlite3.Connection,
    source: ConfinedFolder,
    target: ConfinedFolder,
    report: ReportProgress,
) -> ExportReport:
    target.create_folder(ORIGINALS_NAME)
    with target.create(README_NAME) as readme:
        readme.write(README.encode())
    incomplete, comments, lines, withheld = [], 0, list[bytes](), list[bytes]()
    with target.create(COMMENTS_NAME) as file:
        for head in snapshot.report_progress(_heads(database), report, "posts"):
            post = decode_post(head)
            folder = WITHHELD_FOLDER if is_withheld(post) else ORIGINALS_NAME
            image = _copy_original(source, target, post.id, folder, report)
            if image is None:
                incomplete.append(post.id)
            elif is_withheld(post):
                withheld.append(encode_line(WithheldPost, post, image=image))
            else:
                lines.append(encode_line(ExportedPost, post, image=image))
                comments += _write_comments(database, post.id, file)
    if withheld:
        with target.create(WITHHELD_NAME) as posts:
            posts.writelines(withheld)
    with target.create(POSTS_NAME) as posts:
        posts.writelines(lines)
    target.sync_disk()
    return ExportReport(len(lines), len(withheld), comments, incomplete)


def _heads(database: sqlite3.Connection) -> Iterator[bytes]:
    """The JSON of each post that has an image, by id."""
    rows = database.execute("SELECT head FROM posts WHERE status <> 'awaiting_upload' ORDER BY id")
    return (head for (head,) in rows)


def _copy_original(
    source: ConfinedFolder,
    target: ConfinedFolder,
    post_id: str,
    folder: str,
    report: ReportProgress,
) -> ExportedImage | None:
    """Copy a post's original into `folder`; None if it is missing, or if this one file cannot be
    read."""
    path, name = original_name(post_id), ""
    try:
        with snapshot.read_errors():
            file = source.open(path)
        with file:
            with snapshot.read_errors():
                kind = sniff(file.read(SNIFF_BYTES))
            file.seek(0)
            name = f"{folder}/{post_id}.{kind.rpartition('/')[2] if kind else 'bin'}"
            copy = snapshot.copy_file(file, target, name)
    except FileNotFoundError:
        return None
    except snapshot.UnreadableError as exc:
        report(f"{path} cannot be read: {exc.strerror}")
        if name:
            target.remove(name)
        return None
    return ExportedImage(name, copy.size, copy.sha256)


def _write_comments(database: sqlite3.Connection, post_id: str, file: BinaryIO) -> int:
    count = 0
    for (doc,) in database.execute(
        "SELECT doc FROM comments WHERE post_id = ? ORDER BY id", (post_id,)
    ):
        file.write(encode_line(ExportedComment, decode_comment(doc)))
        count += 1
    return count


class ImportReport(NamedTuple):
    """The numbers of new posts and comments, of posts that had been deleted here, and of posts
    whose creators are banned here."""

    posts: int
    comments: int
    deleted: int
    banned: int


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
        for post in read_lines(source / POSTS_NAME, ExportedPost, settings.limits):
            with _open_original(source, post):
                pass
        for _ in read_lines(source / COMMENTS_NAME, ExportedComment, settings.limits):
            pass
        create_database(settings.data_dir, report)
        return run_in_container(settings, lambda container: _import(container, source, report))


async def _import(container: Container, source: Path, report: ReportProgress) -> ImportReport:
    counts, limits = Counter[str](), container.settings.limits
    posts = read_lines(source / POSTS_NAME, ExportedPost, limits)
    for post in snapshot.report_progress(posts, report, "posts"):
        counts[await _import_post(container, source, post)] += 1
    importer = SqliteCommentImporter(container.database, container.services.stores.clock)
    lines, comments = read_lines(source / COMMENTS_NAME, ExportedComment, limits), 0
    for post_id, of_post in groupby(lines, key=attrgetter("post_id")):
        while batch := [*islice(of_post, _COMMENTS_AT_A_TIME)]:
            comments += await importer.add(post_id, [comment_of(line, limits) for line in batch])
    return ImportReport(counts["new"], comments, counts["deleted"], counts["banned"])


async def _import_post(container: Container, source: Path, post: ExportedPost) -> str:
    """Import a post, its image first, so that no row lacks its image. Return `new`, `former`,
    `deleted`, or `banned` for a post of a creator who may not post here."""
    posts, accounts = container.services.stores.posts, container.services.accounts
    if await posts.was_deleted(post.id):
        return "deleted"
    is_new = await posts.find(post.id) is None
    try:
        await accounts.check_may_write(post.creator)
    except (AccountDeletedError, BannedError):
        return "banned" if is_new else "former"
    if is_new or not await container.images.has_original(post.id):
        await _import_original(container, source, post)
    if is_new:
        fields = {name: getattr(post, name) for name in ExportedPost.__struct_fields__[:-1]}
        fields |= PostTexts(post.caption, post.alt).checked(container.settings.limits)._asdict()
        await posts.add(Post(status=PostStatus.PROCESSING, **fields))
    return "new" if is_new else "former"


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
