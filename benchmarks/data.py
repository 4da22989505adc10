"""Databases of posts and comments, for us and for the peer, with the same content."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from image_poster.adapters.sqlite.database import connect
from image_poster.adapters.sqlite.schema import migrate
from image_poster.domain.comments import Comment, encode_comment, join_latest
from image_poster.domain.ids import new_id
from image_poster.domain.images import RenderedImage, Size
from image_poster.domain.posts import Post, PostStatus, encode_post, published_post

RENDERED = RenderedImage(Size(600, 600), Size(1600, 1067), "U2EyY,~qsD~q?]ofNZX5spWoWVfk?]kBf6of")
NOW = "2026-11-24T12:00:00.000Z"
TEXT = (
    "A comment as people write them: some sixty to a hundred characters, now and then a bit more."
)

Entry = tuple[Post, list[Comment]]


def entries(posts: int, comments: int, *, hot_comments: int = 0) -> Iterator[Entry]:
    """`posts` ready posts which share `comments` comments, some with many, most with few; with
    `hot_comments`, one more post that has so many."""
    chance = random.Random(7)
    weights = [chance.paretovariate(1.2) for _ in range(posts)]
    total = sum(weights)
    for weight in weights:
        yield _entry(round(comments * weight / total))
    if hot_comments:
        yield _entry(hot_comments)


def _entry(count: int) -> Entry:
    post = published_post(
        Post(new_id(), PostStatus.PROCESSING, "At the lake in June", "A lake", "alice", NOW),
        RENDERED,
    )
    return post, [Comment(new_id(), post.id, "bob", TEXT, NOW) for _ in range(count)]


def write_ours(data_dir: Path, entries: Iterator[Entry]) -> list[str]:
    """Our database; the ids of its posts."""
    data_dir.mkdir(parents=True)
    connection = connect(data_dir / "image_poster.db")
    migrate(connection)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    ids = [_write_our_entry(connection, *entry) for entry in entries]
    connection.execute("COMMIT")
    connection.execute("ANALYZE")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return ids


def _write_our_entry(connection: sqlite3.Connection, post: Post, comments: list[Comment]) -> str:
    docs = [encode_comment(comment) for comment in comments]
    connection.execute(
        "INSERT INTO posts (id, status, creator, total_comments, head, latest, due_at) "
        "VALUES (?, 'ready', ?, ?, ?, ?, 0)",
        (post.id, post.creator, len(docs), encode_post(post), join_latest(docs[::-1][:10])),
    )
    connection.executemany(
        "INSERT INTO comments (post_id, id, creator, doc) VALUES (?, ?, ?, ?)",
        [
            (post.id, comment.id, comment.creator, doc)
            for comment, doc in zip(comments, docs, strict=True)
        ],
    )
    return post.id


PEER_SCHEMA = """
CREATE TABLE posts (id TEXT PRIMARY KEY, status TEXT NOT NULL, creator TEXT NOT NULL,
    caption TEXT NOT NULL, alt TEXT NOT NULL, created_at TEXT NOT NULL, edited_at TEXT,
    placeholder TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    total_comments INTEGER NOT NULL);
CREATE INDEX posts_top ON posts (status, total_comments, id);
CREATE TABLE comments (id TEXT PRIMARY KEY, post_id TEXT NOT NULL REFERENCES posts (id),
    creator TEXT NOT NULL, content TEXT NOT NULL, created_at TEXT NOT NULL, edited_at TEXT);
CREATE INDEX comments_of_post ON comments (post_id, id);
"""


def write_peers(path: Path, entries: Iterator[Entry]) -> list[str]:
    """The peer's database, normalised as SQLAlchemy users would; the ids of its posts."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;" + PEER_SCHEMA)
    connection.execute("BEGIN")
    ids = []
    for post, comments in entries:
        ids.append(post.id)
        connection.execute(
            "INSERT INTO posts VALUES (?, 'ready', ?, ?, ?, ?, NULL, ?, 1600, 1067, ?)",
            (
                post.id,
                post.creator,
                post.caption,
                post.alt,
                post.created_at,
                RENDERED.placeholder,
                len(comments),
            ),
        )
        connection.executemany(
            "INSERT INTO comments VALUES (?, ?, ?, ?, ?, NULL)",
            [
                (comment.id, comment.post_id, comment.creator, comment.content, NOW)
                for comment in comments
            ],
        )
    connection.execute("COMMIT")
    connection.execute("ANALYZE")
    connection.close()
    return ids
