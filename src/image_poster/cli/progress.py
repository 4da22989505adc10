"""How far uploads are: as bars on a terminal, else a line for each trouble."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import click

from image_poster.client import Progress


class Display(Protocol):
    """Shows uploads by number."""

    def add(self, name: str, size: int) -> int:
        """A new upload; its number."""
        ...

    def report(self, number: int, progress: Progress) -> None:
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
    # Imported here: it takes a while, and nobody else needs it.
    from image_poster.cli.bars import bars  # noqa: PLC0415

    with bars() as found:
        yield found


def trouble_text(progress: Progress) -> str:
    """What is being retried, and when."""
    if not progress.trouble:
        return ""
    return f"{progress.trouble}; trying again in {progress.retry_in:.1f} s"


class _Lines:
    def __init__(self) -> None:
        self._names: list[str] = []

    def add(self, name: str, _size: int) -> int:
        self._names.append(name)
        return len(self._names) - 1

    def report(self, number: int, progress: Progress) -> None:
        if progress.trouble:
            done = f"{progress.sent / 1e6:.1f} of {(progress.total or 0) / 1e6:.1f} MB sent"
            click.echo(f"{self._names[number]}: {trouble_text(progress)} ({done})", err=True)

    def note(self, number: int, text: str) -> None:
        """A terminal's."""
