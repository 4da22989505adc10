"""Users' commands: post images, comment, read the feed, show and delete posts.

`post` and `comment` store each request in the user's journal before they send it. So the same
command continues an interrupted one, and creates nothing twice.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from image_poster.cli.options import TEXT, Caller, client_options, post_id_argument
from image_poster.cli.output import Display, display, print_json, print_resource, print_text
from image_poster.client import (
    AsyncImagePosterClient,
    ClientError,
    GaveUpError,
    ImagePosterClient,
    Policy,
    PostResult,
    RefusedError,
    SettingError,
    TooLateError,
)
from image_poster.client.journal import JournalEntry, UploadIdentity, new_state
from image_poster.client.uploading import (
    FileVersion,
    ProgressCallback,
    UploadTexts,
    is_late,
    version_of,
)

# The result of the same request may change with another token or at another time. An earlier
# request may still have succeeded, and only its key tells (RFC 9110, sections 15.5.2, 15.5.4 and
# 15.5.10).
_UNDECIDED = {401, 403, 409}
_FIRST_PATIENCE_SECONDS = 30.0


class PostOptions(NamedTuple):
    """The files of `post`, and its options for each file."""

    files: tuple[Path, ...]
    caption: str
    alt: str
    at_once: int
    wait: bool
    again: bool


def _regular_files(
    _context: click.Context, _argument: click.Parameter, files: tuple[Path, ...]
) -> tuple[Path, ...]:
    """Refuse a pipe or a device: neither a retry nor a later run could read it again."""
    for file in files:
        if not file.is_file():
            raise click.BadParameter(
                f"{file} is not a regular file. Save the image as a file, and post that."
            )
    return files


@click.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_regular_files,
)
@click.option("--caption", type=TEXT, default="", help="Text below the image.")
@click.option(
    "--alt", type=TEXT, default="", help="Description of the image, for people who cannot see it."
)
@click.option("--wait/--no-wait", default=True, help="Wait until the image is processed.")
@click.option(
    "--at-once", type=click.IntRange(1, 32), default=3, show_default=True, help="Uploads at a time."
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    default=Policy().patience,
    show_default=True,
    help="Seconds without progress before giving up.",
)
@click.option(
    "--again",
    is_flag=True,
    help="Post again if the first request was sent over 6 days ago and its result is unknown.",
)
@client_options
def post(url: str, caller: Caller, *, patience: float, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - of `PostOptions`
    """Post images, one post each.

    After any interruption, the same command continues: it sends no byte and creates no post twice.
    """
    policy = Policy(patience=patience, first_patience=min(patience, _FIRST_PATIENCE_SECONDS))
    client = AsyncImagePosterClient(url, **caller._asdict(), policy=policy)
    poster = _Poster(client, PostOptions(**options))
    with ExitStack() as stack:
        try:
            asyncio.run(poster.post_all(stack))
        finally:
            for posted in filter(None, poster.posts):
                print_resource(posted, as_json=as_json)
        poster.check()
        poster.remove_entries()


class _Poster:
    """Posts the files of one command: `posts` has the result for each file, in the order of the
    files. Their journal entries stay until all posts are printed: so the same command can resume.
    """

    def __init__(self, client: AsyncImagePosterClient, order: PostOptions) -> None:
        self.posts: list[PostResult | None] = [None] * len(order.files)
        self._failures = list[ClientError]()
        self._client = client
        self._order = order
        self._gate = asyncio.Semaphore(order.at_once)
        self._entries = list[JournalEntry]()
        self._versions = list[FileVersion]()

    async def post_all(self, stack: ExitStack) -> None:
        """Post all files; the entries are locked until `stack` is closed."""
        async with self._client:
            self._open_entries(stack)
            with display() as bars:
                await asyncio.gather(
                    *(self._post(*numbered, bars) for numbered in enumerate(self._entries))
                )

    def check(self) -> None:
        """Report all failures, and raise the one that decides the exit code: failures that can be
        continued come before refusals."""
        ranked = sorted(self._failures, key=lambda error: not isinstance(error, GaveUpError))
        for error in ranked[1:]:
            print_text(f"image-poster: {error}", err=True)
        for error in ranked[:1]:
            raise error

    def remove_entries(self) -> None:
        """Delete the journal entries: the same command then creates new posts."""
        for entry in self._entries:
            entry.remove()

    def _open_entries(self, stack: ExitStack) -> None:
        copies = Counter[UploadIdentity]()
        texts = UploadTexts(self._order.caption, self._order.alt)
        for file in self._order.files:
            with _read_errors(file):
                self._versions.append(version_of(file.stat()))
                identity = self._client.upload_identity(file, texts)
            identity_of_copy = identity._replace(copy=copies[identity])
            entry = stack.enter_context(self._client.journal.open_entry(identity_of_copy))
            _offer_restart(file.name, entry, now=time.time(), again=self._order.again)
            self._entries.append(entry)
            copies[identity] += 1

    async def _post(self, number: int, entry: JournalEntry, bars: Display) -> None:
        file = self._order.files[number]
        bar = bars.add(file.name, self._versions[number].size)
        try:
            with _read_errors(file):
                posted = await self._upload(number, entry, partial(bars.report, bar))
            if self._order.wait:
                bars.note(bar, "processing")
                posted = await self._client.wait_until_processed(posted.id)
            self.posts[number] = posted
            if posted.failure is not None:
                raise RefusedError(422, posted.failure.code, posted.failure.detail)
        except ClientError as exc:
            bars.note(bar, str(exc))
            self._failures.append(_of_file(file, exc))
            if _is_final(exc) and not entry.state.complete:
                entry.remove()
        else:
            bars.note(bar, "posted")

    async def _upload(
        self, number: int, entry: JournalEntry, progress: ProgressCallback
    ) -> PostResult:
        order, file = self._order, self._order.files[number]
        async with self._gate:
            if version_of(file.stat()) != self._versions[number]:
                raise GaveUpError(f"{file.name} has changed while it was waiting to be sent")
            return await self._client.post(
                file, caption=order.caption, alt=order.alt, progress=progress, state_store=entry
            )


@contextmanager
def _read_errors(file: Path) -> Iterator[None]:
    """Raise `GaveUpError` for a file that has vanished, or that cannot be read."""
    try:
        yield
    except OSError as exc:
        raise GaveUpError(f"{file.name} cannot be read: {exc.strerror or exc}") from exc


def _of_file(file: Path, error: ClientError) -> ClientError:
    if isinstance(error, RefusedError):
        return RefusedError(error.status, error.code, f"{file}: {error.detail}")
    if isinstance(error, TooLateError | SettingError):
        return error
    return GaveUpError(f"{file}: {error}. Run the same command again to continue.")


def _offer_restart(name: str, entry: JournalEntry, *, now: float, again: bool) -> None:
    """Start over if the first request was sent too long ago, and the user agrees."""
    if not is_late(entry.state, now):
        return
    question = f"{TooLateError(name, entry.state.since)}. Post it again?"
    has_person = sys.stdin is not None and sys.stdin.isatty()
    if again or (has_person and click.confirm(question, err=True)):
        entry.save(new_state())


def _is_final(error: ClientError) -> bool:
    """True if the same request would be refused again, and has never succeeded."""
    return isinstance(error, RefusedError) and error.status not in _UNDECIDED


@click.command()
@post_id_argument
@click.argument("text", type=TEXT)
@click.option(
    "--again",
    is_flag=True,
    help="Comment again if the first request was sent over 6 days ago and its result is unknown.",
)
@client_options
def comment(
    post_id: str, text: str, url: str, caller: Caller, *, again: bool, as_json: bool
) -> None:
    """Comment on a post.

    After an interruption, the same command adds the comment once. After it has printed the comment,
    the same command adds another one.
    """
    with (
        ImagePosterClient(url, **caller._asdict()) as client,
        client.journal.open_entry(client.comment_identity(post_id, text)) as entry,
    ):
        now = time.time()
        _offer_restart("This comment", entry, now=now, again=again)
        if is_late(entry.state, now):
            raise TooLateError("This comment", entry.state.since)
        entry.save(msgspec.structs.replace(entry.state, since=entry.state.since or now))
        try:
            created = client.comment(post_id, text, idempotency_key=entry.state.key)
        except RefusedError as exc:
            if _is_final(exc):
                entry.remove()
            raise
        print_resource(created, as_json=as_json)
        entry.remove()


@click.command()
@click.option("--sort", type=click.Choice(["top", "new"]), default="top", show_default=True)
@click.option("--limit", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--cursor", type=TEXT, help="Cursor of the page to show, printed by the page before.")
@click.option(
    "--unfinished", is_flag=True, help="Show your own posts that are not ready, with the reason."
)
@client_options
def feed(
    sort: str,
    limit: int,
    cursor: str | None,
    url: str,
    caller: Caller,
    *,
    unfinished: bool,
    as_json: bool,
) -> None:
    """Read the feed."""
    with ImagePosterClient(url, **caller._asdict()) as client:
        if unfinished:
            page = client.unfinished(limit=limit, cursor=cursor)
        else:
            page = client.feed(sort=sort, limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    for listed in page.posts:
        print_resource(listed, as_json=False)
    if not page.posts:
        click.echo("no posts here yet")
    if page.next:
        print_text(f"more: --cursor {page.next}")


@click.command()
@post_id_argument
@client_options
def show(post_id: str, url: str, caller: Caller, *, as_json: bool) -> None:
    """Show one post."""
    with ImagePosterClient(url, **caller._asdict()) as client:
        print_resource(client.show(post_id), as_json=as_json)


@click.command()
@post_id_argument
@client_options
def delete(post_id: str, url: str, caller: Caller, *, as_json: bool) -> None:
    """Delete your own post, with its comments and images."""
    with ImagePosterClient(url, **caller._asdict()) as client:
        client.delete(post_id)
    if as_json:
        print_json({"deleted": post_id})
    else:
        click.echo(f"deleted {post_id}")


COMMANDS = [post, comment, feed, show, delete]
