"""`image-poster post`: many images, each of them once, whatever happens on the way."""

import asyncio
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click

from image_poster.cli.options import Caller, client_options
from image_poster.cli.output import Display, display, print_found
from image_poster.client import (
    AsyncImagePosterClient,
    ClientError,
    GaveUpError,
    Policy,
    Post,
    RefusedError,
    TooLateError,
)
from image_poster.client.journal import Record, UploadIdentity, new_state
from image_poster.client.posting import Draft, Report
from image_poster.client.uploading import is_late

_FIRST_PATIENCE_SECONDS = 30.0
_UNAUTHORIZED = 401


class Order(NamedTuple):
    """What the command line asks for."""

    files: tuple[Path, ...]
    caption: str
    alt: str
    at_once: int
    wait: bool
    again: bool


@click.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--caption", default="", help="Text below the image.")
@click.option("--alt", default="", help="What the image shows, for who cannot see it.")
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

    Stopped by whatever, the same command goes on where it was: what has been posted is not posted
    again, what has been sent is not sent again.
    """
    policy = Policy(patience=patience, first_patience=min(patience, _FIRST_PATIENCE_SECONDS))
    order = Order(files, caption, alt, at_once, wait, again)
    batch = Batch([None] * len(files))
    try:
        client = AsyncImagePosterClient(url, **who._asdict(), policy=policy)
        asyncio.run(_Poster(client, order, batch).post_all())
    finally:
        for made in filter(None, batch.posts):
            print_found(made, as_json=as_json)
    batch.check()


@dataclass
class Batch:
    """What has come of each file, in their order."""

    posts: list[Post | None]
    failures: list[ClientError] = field(default_factory=list)

    def check(self) -> None:
        """Tell of all failures, raising the one that decides how the command ends: what can be
        continued counts more than what was refused."""
        ranked = sorted(self.failures, key=lambda error: not isinstance(error, GaveUpError))
        for error in ranked[1:]:
            click.echo(f"image-poster: {error}", err=True)
        for error in ranked[:1]:
            raise error


class _Poster:
    """Posts the files of one command. Their records are kept until all is done, so that the same
    command can tell what was."""

    def __init__(self, client: AsyncImagePosterClient, order: Order, batch: Batch) -> None:
        self._client = client
        self._order = order
        self._batch = batch
        self._gate = asyncio.Semaphore(order.at_once)

    async def post_all(self) -> None:
        async with self._client:
            with ExitStack() as stack:
                records = self._records(stack)
                shown = stack.enter_context(display())
                await asyncio.gather(
                    *(self._post(number, record, shown) for number, record in enumerate(records))
                )
                if not self._batch.failures:
                    for record in records:
                        record.forget()

    def _records(self, stack: ExitStack) -> list[Record]:
        desk, seen = self._client.desk, Counter[UploadIdentity]()
        records = []
        for file in self._order.files:
            identity = desk.identity(Draft(file, self._order.caption, self._order.alt))
            record = desk.journal.record(identity._replace(copy=seen[identity]))
            held = stack.enter_context(record)
            self._ask_whether_again(file, held)
            records.append(held)
            seen[identity] += 1
        return records

    def _ask_whether_again(self, file: Path, record: Record) -> None:
        """What was first sent too long ago is posted anew only if a person says so."""
        if not is_late(record.state, time.time()):
            return
        question = f"{TooLateError(file.name, record.state.since)}. Post it anew?"
        if self._order.again or (sys.stdin.isatty() and click.confirm(question, err=True)):
            record.remember(new_state())

    async def _post(self, number: int, record: Record, shown: Display) -> None:
        file = self._order.files[number]
        bar = shown.add(file.name, file.stat().st_size)
        try:
            made = await self._upload(file, record, partial(shown.report, bar))
            if self._order.wait:
                shown.note(bar, "processing")
                made = await self._client.wait_until_processed(made.id)
            self._batch.posts[number] = made
            _check_shown(made)
        except ClientError as exc:
            shown.note(bar, str(exc))
            self._batch.failures.append(_of_file(file, exc))
            if _is_final(exc) and not record.state.complete:
                record.forget()
        else:
            shown.note(bar, "posted")

    async def _upload(self, file: Path, record: Record, progress: Report) -> Post:
        order = self._order
        async with self._gate:
            return await self._client.post(
                file, caption=order.caption, alt=order.alt, progress=progress, held=record
            )


def _check_shown(made: Post) -> None:
    if made.failure is not None:
        raise RefusedError(422, made.failure.code, made.failure.detail)


def _is_final(error: ClientError) -> bool:
    """Whether the same command would be refused again; with another token it goes on."""
    return isinstance(error, RefusedError) and error.status != _UNAUTHORIZED


def _of_file(file: Path, error: ClientError) -> ClientError:
    if isinstance(error, RefusedError):
        return RefusedError(error.status, error.code, f"{file}: {error.detail}")
    if isinstance(error, TooLateError):
        return error
    return GaveUpError(f"{file}: {error}. The same command goes on from here.")


COMMANDS = [post]
