"""`image-poster export`: posts, comments and originals as plain files. Any later version's
`image-poster import` can read them (`imports.py`).

- `README.txt`: a description of the files
- `posts.jsonl`: a post a line, in JSON (`ExportedPost`), by id
- `comments.jsonl`: a comment a line, in JSON (`ExportedComment`), by post and id
- `originals/{id}.{kind}`: the untouched images

An export has no renditions and no counts, which can be derived anew, and no keys or tokens. The
file `posts.jsonl` is written last: without it, the folder is no export.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from image_poster.adapters.files.confined import ConfinedFolder
from image_poster.adapters.files.durable import ensure_folder, sync
from image_poster.adapters.files.schema import original_name
from image_poster.domain.comments import decode_comment
from image_poster.domain.images import SNIFF_BYTES, sniff
from image_poster.domain.posts import Post, decode_post
from image_poster.editions import StartError
from image_poster.editions.local.backup_checks import require_apart
from image_poster.editions.local.data_folder import database_path
from image_poster.editions.local.failures import failures_as_sentences
from image_poster.editions.local.ownership import require_readable
from image_poster.editions.local.snapshot import SIDE_FILES, copy_database

POSTS_NAME, COMMENTS_NAME, ORIGINALS_NAME = "posts.jsonl", "comments.jsonl", "originals"
_README_NAME = "README.txt"
_ADVICE = "Delete that folder, and run the command again."
_CHUNK_BYTES = 1 << 20
REPORT_EVERY = 500
_README = """Posts, comments and images of image-poster-api.

posts.jsonl     one post a line, in JSON: id (ULID), creator, texts, times (RFC 3339, UTC), and its
                image: its file in this folder, its bytes, and the SHA-256 of its content
comments.jsonl  one comment a line, likewise, with the id of its post
originals/      the images as they were sent; they may hold where they were taken

`image-poster import FOLDER` takes all this in; importing it again changes nothing.
"""

Report = Callable[[str], None]


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


def export(data_dir: Path, target: Path, report: Report) -> ExportReport:
    """Write all posts that have an image, and their comments, into an empty folder. The files show
    the database at one moment. Works beside a running server or without one. Raises
    `StartError`."""
    source = database_path(data_dir)
    require_readable(data_dir)
    if not source.exists():
        raise StartError(f"there is no database in {data_dir}: pass --data-dir, or mount its disk.")
    require_apart(data_dir, target)
    os.umask(0o077)
    snapshot = target / ".snapshot.db"
    with failures_as_sentences(f"the export to {target} broke off", _ADVICE):
        _require_empty(target)
        ensure_folder(target)
        try:
            copy_database(source, snapshot)
            with (
                closing(sqlite3.connect(snapshot)) as connection,
                ConfinedFolder(data_dir, follow_folders=True) as folder,
                ConfinedFolder(target) as place,
            ):
                return _write(connection, folder, place, report)
        finally:
            for suffix in ("", *SIDE_FILES):
                snapshot.with_name(f"{snapshot.name}{suffix}").unlink(missing_ok=True)


def _require_empty(target: Path) -> None:
    names = {path.name for path in target.iterdir()} if target.exists() else set()
    if not names - {"lost+found"}:
        return
    if _README_NAME in names and POSTS_NAME not in names:
        raise StartError(f"{target} holds an export that broke off: delete it, or name another.")
    raise StartError(f"{target} is not empty: export into a folder of its own.")


def _write(
    connection: sqlite3.Connection, folder: ConfinedFolder, target: ConfinedFolder, report: Report
) -> ExportReport:
    target.create_folder(ORIGINALS_NAME)
    with target.create(_README_NAME) as readme:
        readme.write(_README.encode())
    incomplete, comments, lines = [], 0, []
    with target.create(COMMENTS_NAME) as file:
        for number, (head,) in enumerate(_heads(connection), 1):
            post = decode_post(head)
            image = _copied(folder, target, post.id, report)
            if image is None:
                incomplete.append(post.id)
                continue
            lines.append(msgspec.json.encode(_exported_post(post, image)))
            comments += _write_comments(connection, post.id, file)
            if number % REPORT_EVERY == 0:
                report(f"{number:,} posts")
    with target.create(POSTS_NAME) as posts:
        posts.writelines(line + b"\n" for line in lines)
    os.sync()
    sync(target.path)
    return ExportReport(len(lines), comments, incomplete)


def _heads(connection: sqlite3.Connection) -> Iterator[tuple[bytes]]:
    return connection.execute(
        "SELECT head FROM posts WHERE status <> 'awaiting_upload' ORDER BY id"
    )


def _copied(
    folder: ConfinedFolder, target: ConfinedFolder, post_id: str, report: Report
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
        name = f"{ORIGINALS_NAME}/{post_id}.{kind.rpartition('/')[2] if kind else 'bin'}"
        with target.create(name) as copy:
            digest = hashlib.sha256()
            for chunk in read_chunks(source):
                copy.write(chunk)
                digest.update(chunk)
            return ExportedImage(name, copy.tell(), digest.hexdigest())


def read_chunks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file, in chunks of at most a mebibyte."""
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
