"""`image-poster post`: posts many images, each exactly once, even if the command is interrupted."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click

from image_poster.cli.options import TEXT, Caller, client_options
from image_poster.cli.output import Display, display, print_found, say
from image_poster.cli.resuming import ask_whether_again, is_final
from image_poster.client import (
    AsyncImagePosterClient,
    ClientError,
    GaveUpError,
    Policy,
    PostResult,
    RefusedError,
    SettingError,
    TooLateError,
)
from image_poster.client.journal import JournalEntry, UploadIdentity
from image_poster.client.uploading import FileVersion, Report, UploadTexts, version_of

_FIRST_PATIENCE_SECONDS = 30.0


class Order(NamedTuple):
    """The arguments and options of the command."""

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
@click.option("--alt", type=TEXT, default="", help="What the image shows, for who cannot see it.")
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
    "--again", is_flag=True, help="Post anew what was first sent over 6 days ago and may be there."
)
@client_options
def post(  # noqa: PLR0913 - one for each option
    files: tuple[Path, ...],
    caption: str,
    alt: str,
    url: str,
    who: Caller,
    *,
    wait: bool,
    at_once: int,
    patience: float,
    again: bool,
    as_json: bool,
) -> None:
    """Post images, one post each.

    After any interruption, the same command continues: it sends no byte and creates no post twice.
    """
    policy = Policy(patience=patience, first_patience=min(patience, _FIRST_PATIENCE_SECONDS))
    order = Order(files, caption, alt, at_once, wait, again)
    batch = Batch([None] * len(files))
    client = AsyncImagePosterClient(url, **who._asdict(), policy=policy)
    with ExitStack() as stack:
        poster = _Poster(client, order, batch)
        try:
            asyncio.run(poster.post_all(stack))
        finally:
            for posted in filter(None, batch.posts):
                print_found(posted, as_json=as_json)
        batch.check()
        poster.remove_entries()


@dataclass
class Batch:
    """The result for each file, in the order of the files."""

    posts: list[PostResult | None]
    failures: list[ClientError] = field(default_factory=list)

    def check(self) -> None:
        """Report all failures, and raise the one that decides the exit code: failures that can be
        continued come before refusals."""
        ranked = sorted(self.failures, key=lambda error: not isinstance(error, GaveUpError))
        for error in ranked[1:]:
            say(f"image-poster: {error}", err=True)
        for error in ranked[:1]:
            raise error


class _Poster:
    """Posts the files of one command. Their journal entries stay until all are printed, so that the
    same command can resume."""

    def __init__(self, client: AsyncImagePosterClient, order: Order, batch: Batch) -> None:
        self._client = client
        self._order = order
        self._batch = batch
        self._gate = asyncio.Semaphore(order.at_once)
        self._entries = list[JournalEntry]()
        self._versions = list[FileVersion]()

    async def post_all(self, stack: ExitStack) -> None:
        """Post all files; the entries are locked until `stack` is closed."""
        async with self._client:
            self._open_entries(stack)
            with display() as shown:
                await asyncio.gather(
                    *(self._post(*numbered, shown) for numbered in enumerate(self._entries))
                )

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
            ask_whether_again(file.name, entry, now=time.time(), again=self._order.again)
            self._entries.append(entry)
            copies[identity] += 1

    async def _post(self, number: int, entry: JournalEntry, shown: Display) -> None:
        file = self._order.files[number]
        bar = shown.add(file.name, self._versions[number].size)
        try:
            with _read_errors(file):
                made = await self._upload(number, entry, partial(shown.report, bar))
            if self._order.wait:
                shown.note(bar, "processing")
                made = await self._client.wait_until_processed(made.id)
            self._batch.posts[number] = made
            _check_shown(made)
        except ClientError as exc:
            shown.note(bar, str(exc))
            self._batch.failures.append(_of_file(file, exc))
            if is_final(exc) and not entry.state.complete:
                entry.remove()
        else:
            shown.note(bar, "posted")

    async def _upload(self, number: int, entry: JournalEntry, progress: Report) -> PostResult:
        order, file = self._order, self._order.files[number]
        async with self._gate:
            if version_of(file.stat()) != self._versions[number]:
                raise GaveUpError(f"{file.name} has changed while it was waiting to be sent")
            return await self._client.post(
                file, caption=order.caption, alt=order.alt, progress=progress, state_store=entry
            )


def _check_shown(made: PostResult) -> None:
    if made.failure is not None:
        raise RefusedError(422, made.failure.code, made.failure.detail)


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
    return GaveUpError(f"{file}: {error}. The same command goes on from here.")


COMMANDS = [post]
