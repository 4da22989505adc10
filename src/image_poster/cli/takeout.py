"""The command `takeout`: all of the caller's own data, in one folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from image_poster.cli.options import Caller, client_options
from image_poster.cli.output import open_bars, print_json, print_text, retry_text
from image_poster.client import GaveUpError, ImagePosterClient, TakeoutProgress, TakeoutResult
from image_poster.client.takeout import TakeoutCallback

if TYPE_CHECKING:
    from rich import progress

_LISTS = ("posts", "comments", "reports", "blocks", "decisions")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@client_options
def takeout(folder: Path, url: str, caller: Caller, *, as_json: bool) -> None:
    """Download all of your own data into DIR: posts, comments, reports, blocks, decisions (JSON
    lines), and the images as you uploaded them.

    After any interruption, the same command continues. Later it adds the data that is new.
    """
    with ImagePosterClient(url, **caller._asdict()) as client, _display() as report:
        try:
            result = client.takeout(folder, progress=report)
        except GaveUpError as exc:
            raise GaveUpError(f"{exc}. Run the same command again to continue.") from exc
    if as_json:
        print_json(result)
    else:
        _print_result(result)
    if result.missing:
        ids = ", ".join(result.missing)
        print_text(f"not downloaded, because the original is missing: {ids}", err=True)
        click.get_current_context().exit(1)


def _print_result(result: TakeoutResult) -> None:
    counts = ", ".join(f"{getattr(result, name):,} {name}" for name in _LISTS)
    print_text(
        f"{result.folder}: {counts}, {result.originals:,} originals "
        f"({result.received / 1e6:.1f} MB downloaded now)"
    )


@contextmanager
def _display() -> Iterator[TakeoutCallback]:
    """Show the progress on standard error: on a terminal as a bar, else a line for each failure."""
    with open_bars() as bars:
        yield _print_failure if bars is None else _bar_of(bars)


def _print_failure(state: TakeoutProgress) -> None:
    if state.trouble:
        done = f"{state.originals} of {state.total} originals" if state.total else "reading lists"
        print_text(f"{retry_text(state)} ({done})", err=True)


def _bar_of(bars: "progress.Progress") -> TakeoutCallback:
    task = bars.add_task("lists", total=None, note="")

    def report(state: TakeoutProgress) -> None:
        received = f"{state.received / 1e6:.1f} MB"
        note = retry_text(state)
        words = "lists" if state.total is None else f"{state.originals}/{state.total} originals"
        bars.update(
            task,
            description=words,
            total=state.total,
            completed=state.originals,
            note=note or received,
            refresh=bool(note),
        )

    return report


COMMANDS = [takeout]
