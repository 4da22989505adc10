"""A bar for each upload, by rich (https://rich.readthedocs.io/en/stable/progress.html)."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from image_poster.cli.progress import trouble_text
from image_poster.client import Progress


class _BarDisplay:
    def __init__(self, drawn: Bars) -> None:
        self._drawn = drawn

    def add(self, name: str, size: int) -> int:
        return self._drawn.add_task(name, total=size, note="")

    def report(self, number: int, progress: Progress) -> None:
        note = trouble_text(progress)
        self._drawn.update(TaskID(number), completed=progress.sent, note=note)

    def note(self, number: int, text: str) -> None:
        self._drawn.update(TaskID(number), note=text)


@contextmanager
def bars() -> Iterator[_BarDisplay]:
    """Drawn on standard error. What is printed meanwhile is not redirected: it may be for a
    program."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    console = Console(stderr=True)
    with Bars(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as drawn:
        yield _BarDisplay(drawn)
