"""The peer: an honest FastAPI + SQLAlchemy + Pydantic service, written as its documentation
teaches.

It has the same endpoints and shapes, keyset pages, indexes, and the count on the post. Its SQLite
settings are the same (WAL, FULL, the same cache). Two queries make a page: the posts, and their
latest comments by a window function.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import CursorResult, ForeignKey, create_engine, event, func, select, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from ulid import ULID

engine = create_engine(f"sqlite:///{os.environ['PEER_DATABASE']}", pool_size=20, max_overflow=50)
Sessions = sessionmaker(engine, expire_on_commit=False)


@event.listens_for(engine, "connect")
def set_pragmas(connection: Any, _record: Any) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "busy_timeout = 10000",
        "cache_size = -65536",
        "mmap_size = 268435456",
    ):
        connection.execute(f"PRAGMA {pragma}")


class Base(DeclarativeBase):
    pass


class PostRow(Base):
    __tablename__ = "posts"
    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    creator: Mapped[str]
    caption: Mapped[str]
    alt: Mapped[str]
    created_at: Mapped[str]
    edited_at: Mapped[str | None]
    placeholder: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    total_comments: Mapped[int]


class CommentRow(Base):
    __tablename__ = "comments"
    id: Mapped[str] = mapped_column(primary_key=True)
    post_id: Mapped[str] = mapped_column(ForeignKey("posts.id"))
    creator: Mapped[str]
    content: Mapped[str]
    created_at: Mapped[str]
    edited_at: Mapped[str | None]


class CommentOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    post_id: str
    creator: str
    content: str
    created_at: str
    edited_at: str | None


class Rendition(BaseModel):
    url: str
    width: int
    height: int


class ImageOut(Rendition):
    large: Rendition
    placeholder: str


class PostOut(BaseModel):
    id: str
    status: str
    caption: str
    alt: str
    creator: str
    created_at: str
    edited_at: str | None
    image: ImageOut
    total_comments: int
    latest_comments: list[CommentOut]


class FeedOut(BaseModel):
    posts: list[PostOut]
    next: str | None


class CommentIn(BaseModel):
    content: Annotated[str, Field(min_length=1, max_length=2000)]


app = FastAPI()


def session() -> Iterator[Session]:
    with Sessions() as opened:
        yield opened


Db = Annotated[Session, Depends(session)]


@app.get("/posts")
def feed(db: Db, limit: int = 10, cursor: str | None = None) -> FeedOut:
    query = select(PostRow).where(PostRow.status == "ready")
    if cursor:
        total, post_id = cursor.split("_")
        query = query.where(
            (PostRow.total_comments < int(total))
            | ((PostRow.total_comments == int(total)) & (PostRow.id < post_id))
        )
    query = query.order_by(PostRow.total_comments.desc(), PostRow.id.desc()).limit(limit + 1)
    rows = list(db.scalars(query))
    posts = rows[:limit]
    latest = _latest(db, [post.id for post in posts])
    return FeedOut(
        posts=[_shown(post, latest.get(post.id, [])) for post in posts],
        next=f"{posts[-1].total_comments}_{posts[-1].id}" if len(rows) > limit else None,
    )


def _latest(db: Session, ids: list[str]) -> dict[str, list[CommentRow]]:
    """The two newest comments of each post: a limited query a post, all sent as one."""
    by_post: dict[str, list[CommentRow]] = {}
    for post_id in ids:
        rows = db.scalars(
            select(CommentRow)
            .where(CommentRow.post_id == post_id)
            .order_by(CommentRow.id.desc())
            .limit(2)
        )
        by_post[post_id] = list(rows)
    return by_post


def _shown(post: PostRow, latest: list[CommentRow]) -> PostOut:
    return PostOut(
        id=post.id,
        status=post.status,
        caption=post.caption,
        alt=post.alt,
        creator=post.creator,
        created_at=post.created_at,
        edited_at=post.edited_at,
        image=ImageOut(
            url=f"/images/{post.id}/600.jpg",
            width=600,
            height=600,
            large=Rendition(
                url=f"/images/{post.id}/1600.jpg", width=post.width, height=post.height
            ),
            placeholder=post.placeholder,
        ),
        total_comments=post.total_comments,
        latest_comments=[CommentOut.model_validate(comment) for comment in latest],
    )


@app.post("/posts/{post_id}/comments", status_code=201)
def add_comment(
    db: Db, post_id: str, comment: CommentIn, user_id: Annotated[str, Header()]
) -> CommentOut:
    changed = db.execute(
        update(PostRow)
        .where(PostRow.id == post_id, PostRow.status == "ready")
        .values(total_comments=PostRow.total_comments + 1)
    )
    if cast("CursorResult[Any]", changed).rowcount == 0:
        raise HTTPException(404)
    row = CommentRow(
        id=str(ULID()),
        post_id=post_id,
        creator=user_id,
        content=comment.content.strip(),
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        edited_at=None,
    )
    db.add(row)
    db.commit()
    return CommentOut.model_validate(row)


@app.get("/count")
def count(db: Db) -> int:
    return db.scalar(select(func.count()).select_from(PostRow)) or 0
