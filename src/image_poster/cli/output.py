"""Output of commands: posts, comments, and the progress of uploads (bars on a terminal, else a line
for each failure)."""

import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click
import msgspec

from image_poster.client import Comment, Post, Progress
from image_poster.domain.texts import escape_controls

if TYPE_CHECKING:
    from rich import progress


# DEL and C1, which JSON need not escape (RFC 8259 section 7), in UTF-8.
_RAW_IN_JSON = re.compile(b"\x7f|\xc2[\x80-\x9f]")


_LAYOUT = "\n\t"


def say(text: str, *, keep: str = "", err: bool = False) -> None:
    """Print a text that another user may have written. Control characters are escaped, except those
    in `keep`."""
    click.echo(escape_controls(text, keep=keep), err=err)


def say_json(value: object) -> None:
    """Print JSON on one line, with all control characters escaped."""
    encoded = msgspec.json.encode(value)
    click.echo(_RAW_IN_JSON.sub(lambda match: b"\\u%04x" % ord(match[0].decode()), encoded))


def print_found(found: Post | Comment, *, as_json: bool) -> None:
    """Print a post or comment, as JSON on one line or for people."""
    if as_json:
        say_json(found)
    elif isinstance(found, Comment):
        say(f"{found.id}  {_author(found)}: {found.content}", keep=_LAYOUT)
    else:
        _show_post(found)


def _author(found: Post | Comment) -> str:
    """The display name of the author; the user's id if there is none."""
    return escape_controls(found.creator_name or found.creator)


def _show_post(found: Post) -> None:
    status = "" if found.status == "ready" else f"  [{found.status}]"
    say(f"{found.id}  {_author(found)}  {found.total_comments} comments{status}")
    if found.caption:
        say(_indented(found.caption, 4), keep=_LAYOUT)
    if found.failure is not None:
        say(f"    {found.failure.detail} ({found.failure.code})")
    if found.image is not None:
        say(f"    {found.image.url}")
    for said in found.latest_comments:
        say(_indented(f"{_author(said)}: {said.content}", 6), keep=_LAYOUT)


def _indented(text: str, width: int) -> str:
    """Indent every line of a text, so that none looks like the next post."""
    return textwrap.indent(text, " " * width, lambda _: True)


class Display(Protocol):
    """Shows uploads by number."""

    def add(self, name: str, size: int) -> int:
        """Add an upload; returns its number."""
        ...

    def report(self, number: int, state: Progress) -> None:
        """Show the bytes sent so far, or the failure that is being retried."""
        ...

    def note(self, number: int, text: str) -> None:
        """Show another event of the upload."""
        ...


@contextmanager
def display() -> Iterator[Display]:
    """Show uploads on standard error while the block lasts."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with _bars() as bars:
        yield bars


def _trouble_text(state: Progress) -> str:
    """The failure that is being retried, and the wait in seconds; empty if there is none."""
    if not state.trouble:
        return ""
    return f"{escape_controls(state.trouble)}; trying again in {state.retry_in:.1f} s"


class _Lines:
    def __init__(self) -> None:
        self._names: list[str] = []

    def add(self, name: str, _size: int) -> int:
        self._names.append(name)
        return len(self._names) - 1

    def report(self, number: int, state: Progress) -> None:
        if state.trouble:
            done = f"{state.sent / 1e6:.1f} of {(state.total or 0) / 1e6:.1f} MB sent"
            say(f"{self._names[number]}: {_trouble_text(state)} ({done})", err=True)

    def note(self, number: int, text: str) -> None:
        """Ignore the note, which only a terminal shows."""


class _Bars:
    def __init__(self, drawn: "progress.Progress") -> None:
        self._drawn = drawn
        self._tasks: list[progress.TaskID] = []

    def add(self, name: str, size: int) -> int:
        self._tasks.append(self._drawn.add_task(escape_controls(name), total=size, note=""))
        return len(self._tasks) - 1

    def report(self, number: int, state: Progress) -> None:
        note = _trouble_text(state)
        # Trouble is drawn at once: it may be over before the next turn of drawing.
        self._drawn.update(self._tasks[number], completed=state.sent, note=note, refresh=bool(note))

    def note(self, number: int, text: str) -> None:
        self._drawn.update(self._tasks[number], note=escape_controls(text))


@contextmanager
def _bars() -> Iterator[_Bars]:
    """Draw bars on standard error with rich (https://rich.readthedocs.io/en/stable/progress.html).
    Other output is not redirected, because a program may read it."""
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
