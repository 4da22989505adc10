"""What commands print: posts and comments, and how far uploads are (bars on a terminal, else a
line for each trouble)."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click
import msgspec

from image_poster.client import Comment, Post, Progress

if TYPE_CHECKING:
    from rich import progress


def print_found(found: Post | Comment, *, as_json: bool) -> None:
    """As JSON on one line, or for people."""
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif isinstance(found, Comment):
        click.echo(f"{found.id}  {_author(found)}: {found.content}")
    else:
        _show_post(found)


def _author(found: Post | Comment) -> str:
    """What people call them."""
    return found.creator_name or found.creator


def _show_post(found: Post) -> None:
    status = "" if found.status == "ready" else f"  [{found.status}]"
    click.echo(f"{found.id}  {_author(found)}  {found.total_comments} comments{status}")
    if found.caption:
        click.echo(f"    {found.caption}")
    if found.failure is not None:
        click.echo(f"    {found.failure.detail} ({found.failure.code})")
    if found.image is not None:
        click.echo(f"    {found.image.url}")
    for said in found.latest_comments:
        click.echo(f"      {_author(said)}: {said.content}")


class Display(Protocol):
    """Shows uploads by number."""

    def add(self, name: str, size: int) -> int:
        """A new upload; its number."""
        ...

    def report(self, number: int, state: Progress) -> None:
        """It has come so far, or is in trouble."""
        ...

    def note(self, number: int, text: str) -> None:
        """What else happens to it."""
        ...


@contextmanager
def display() -> Iterator[Display]:
    """On standard error, for as long as the block lasts."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with _bars() as bars:
        yield bars


def _trouble_text(state: Progress) -> str:
    """What is being retried, and when."""
    if not state.trouble:
        return ""
    return f"{state.trouble}; trying again in {state.retry_in:.1f} s"


class _Lines:
    def __init__(self) -> None:
        self._names: list[str] = []

    def add(self, name: str, _size: int) -> int:
        self._names.append(name)
        return len(self._names) - 1

    def report(self, number: int, state: Progress) -> None:
        if state.trouble:
            done = f"{state.sent / 1e6:.1f} of {(state.total or 0) / 1e6:.1f} MB sent"
            click.echo(f"{self._names[number]}: {_trouble_text(state)} ({done})", err=True)

    def note(self, number: int, text: str) -> None:
        """A terminal's."""


class _Bars:
    def __init__(self, drawn: "progress.Progress") -> None:
        self._drawn = drawn
        self._tasks: list[progress.TaskID] = []

    def add(self, name: str, size: int) -> int:
        self._tasks.append(self._drawn.add_task(name, total=size, note=""))
        return len(self._tasks) - 1

    def report(self, number: int, state: Progress) -> None:
        note = _trouble_text(state)
        # Trouble is drawn at once: it may be over before the next turn of drawing.
        self._drawn.update(self._tasks[number], completed=state.sent, note=note, refresh=bool(note))

    def note(self, number: int, text: str) -> None:
        self._drawn.update(self._tasks[number], note=text)


@contextmanager
def _bars() -> Iterator[_Bars]:
    """Drawn on standard error, by rich (https://rich.readthedocs.io/en/stable/progress.html). What
    is printed meanwhile is not redirected: it may be for a program."""
    # Imported here: it takes a while, and nobody else needs it.
    from rich import console, progress  # noqa: PLC0415

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=20),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(compact=True),
        progress.TextColumn("{task.fields[note]}", markup=False),
    )
    screen = console.Console(stderr=True)
    with progress.Progress(
        *columns, console=screen, redirect_stdout=False, redirect_stderr=False
    ) as drawn:
        yield _Bars(drawn)
