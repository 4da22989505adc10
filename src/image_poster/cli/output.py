"""Output of commands: posts, comments, and the progress of uploads (bars on a terminal, else a line
for each failure)."""

import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
import msgspec

from image_poster.client import (
    CommentResult,
    ModerationResult,
    PostResult,
    Progress,
    TakeoutProgress,
)
from image_poster.domain.limits import escape_controls

if TYPE_CHECKING:
    from rich import progress


# DEL and C1, which JSON need not escape (RFC 8259 section 7), in UTF-8.
_RAW_IN_JSON = re.compile(b"\x7f|\xc2[\x80-\x9f]")
_LAYOUT = "\n\t"


def print_text(text: str, *, keep: str = "", err: bool = False) -> None:
    """Print a text that another user may have written. Control characters are escaped, except those
    in `keep`."""
    click.echo(escape_controls(text, keep=keep), err=err)


def print_json(value: object) -> None:
    """Print JSON on one line, with all control characters escaped."""
    encoded = msgspec.json.encode(value)
    click.echo(_RAW_IN_JSON.sub(lambda match: b"\\u%04x" % ord(match[0].decode()), encoded))


def print_resource(resource: PostResult | CommentResult, *, as_json: bool) -> None:
    """Print a post or comment, as JSON on one line or for people."""
    if as_json:
        print_json(resource)
    elif isinstance(resource, CommentResult):
        print_text(f"{resource.id}  {author(resource)}: {resource.content}", keep=_LAYOUT)
    else:
        _print_post(resource)


def author(resource: PostResult | CommentResult) -> str:
    """The display name of the author; the user's id if there is none."""
    return escape_controls(resource.creator_name or resource.creator)


def _print_post(post: PostResult) -> None:
    status = "" if post.status == "ready" else f"  [{post.status}]"
    print_text(f"{post.id}  {author(post)}  {post.total_comments} comments{status}")
    if post.caption:
        print_text(indented(post.caption, 4), keep=_LAYOUT)
    if post.failure is not None:
        print_text(f"    {post.failure.detail} ({post.failure.code})")
    if post.moderation is not None:
        _print_moderation(post.moderation)
    if post.image is not None:
        print_text(f"    {post.image.url}")
    for comment in post.latest_comments:
        print_text(indented(f"{author(comment)}: {comment.content}", 6), keep=_LAYOUT)


def _print_moderation(decision: ModerationResult) -> None:
    """Print the decision by which a post is not public."""
    words = escape_controls(" ".join(filter(None, (decision.action, decision.reason))))
    text = f": {decision.text}" if decision.text else ""
    print_text(indented(f"decision {decision.id}, {words}{text}", 4), keep=_LAYOUT)


def indented(text: str, width: int) -> str:
    """Indent every line of a text, so that none looks like the next post."""
    return textwrap.indent(text, " " * width, lambda _: True)


class Display:
    """Shows uploads by number: a line on standard error for each failure."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def add(self, name: str, _size: int) -> int:
        """Add an upload; returns its number."""
        self._names.append(name)
        return len(self._names) - 1

    def report(self, number: int, state: Progress) -> None:
        """Show the bytes sent so far, or the failure that is being retried."""
        if state.trouble:
            done = f"{state.sent / 1e6:.1f} of {(state.total or 0) / 1e6:.1f} MB sent"
            print_text(f"{self._names[number]}: {retry_text(state)} ({done})", err=True)

    def note(self, number: int, text: str) -> None:
        """Show another event of the upload, on a terminal only."""


class _Bars(Display):
    """Shows uploads as bars on a terminal."""

    def __init__(self, bars: "progress.Progress") -> None:
        self._bars = bars
        self._tasks: list[progress.TaskID] = []

    def add(self, name: str, size: int) -> int:
        self._tasks.append(self._bars.add_task(escape_controls(name), total=size, note=""))
        return len(self._tasks) - 1

    def report(self, number: int, state: Progress) -> None:
        note = retry_text(state)
        # A failure is drawn at once: it may be over before the next regular drawing.
        self._bars.update(self._tasks[number], completed=state.sent, note=note, refresh=bool(note))

    def note(self, number: int, text: str) -> None:
        self._bars.update(self._tasks[number], note=escape_controls(text))


def retry_text(state: Progress | TakeoutProgress) -> str:
    """The failure that is being retried, and the wait in seconds; empty if there is none."""
    if not state.trouble:
        return ""
    return f"{escape_controls(state.trouble)}; trying again in {state.retry_in:.1f} s"


@contextmanager
def display() -> Iterator[Display]:
    """Show uploads on standard error while the block lasts: on a terminal as bars."""
    with open_bars(of_bytes=True) as bars:
        yield Display() if bars is None else _Bars(bars)


@contextmanager
def open_bars(*, of_bytes: bool = False) -> Iterator["progress.Progress | None"]:
    """Bars on standard error, with rich
    (https://rich.readthedocs.io/en/stable/progress.html); None where it is no terminal. `of_bytes`:
    they count bytes, and show the speed. Other output is not redirected, because a program may read
    it."""
    if not sys.stderr.isatty():
        yield None
        return
    # Imported here: it takes a while, and no other command needs it.
    from rich import console, progress  # noqa: PLC0415

    counts = (
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(compact=True),
    )
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(bar_width=20),
        *(counts if of_bytes else ()),
        progress.TextColumn("{task.fields[note]}", markup=False),
    )
    screen = console.Console(stderr=True)
    with progress.Progress(
        *columns, console=screen, redirect_stdout=False, redirect_stderr=False
    ) as bars:
        yield bars
