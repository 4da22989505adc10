"""Commands about accounts: `takeout` of a user's own data, and for operators the tokens of users.

The operators' command imports its libraries when it runs, so that other commands start faster.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from image_poster.cli.operator import import_aws, stack_option
from image_poster.cli.options import Caller, client_options, require_extra, setting_options
from image_poster.cli.output import open_bars, print_json, print_text, retry_text
from image_poster.client import GaveUpError, ImagePosterClient, TakeoutProgress, TakeoutResult
from image_poster.client.takeout import TakeoutCallback
from image_poster.domain.identity import UNUSABLE_USERS
from image_poster.editions.local.settings import Settings

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


# As for the header user-id; a lifetime of over ten years is a mistake.
_MAX_USER_CHARACTERS, _MAX_TOKEN_DAYS = 128, 3650


def _user(_context: click.Context, _argument: click.Parameter, user: str | None) -> str | None:
    if user is None:
        return None
    name = user.strip()
    if not name or len(name) > _MAX_USER_CHARACTERS or not name.isprintable():
        raise click.BadParameter(f"must have 1 to {_MAX_USER_CHARACTERS} printable characters")
    if name in UNUSABLE_USERS:
        raise click.BadParameter("must not be . or ..")
    return name


@click.command()
@click.argument("user", required=False, callback=_user)
@click.option(
    "--days",
    type=click.IntRange(1, _MAX_TOKEN_DAYS),
    default=30,
    show_default=True,
    help="Days until the token expires.",
)
@click.option("--admin", is_flag=True, help="The user may edit and delete everyone's posts.")
@click.option(
    "--revoke", metavar="USER", callback=_user, help="Revoke all existing tokens of USER."
)
@click.option("--revoke-all", is_flag=True, help="First revoke all existing tokens.")
@stack_option
@setting_options("data_dir")
def token(
    *,
    user: str | None,
    days: int,
    admin: bool,
    revoke: str | None,
    revoke_all: bool,
    stack: str | None,
    settings: Settings,
) -> None:
    """Print a bearer token for USER, signed by the service's own key, for a server with --auth jwt.
    With --stack, the token is for a test user of that stack, for an hour; not for the stage prod.

    Anybody who has the token can act as USER. The command prints the token alone on standard
    output: store it where only USER can read it.
    """
    if revoke is not None and (user is not None or revoke_all):
        raise click.UsageError("pass --revoke USER alone, without another USER or --revoke-all")
    if user is None and revoke is None and not revoke_all:
        raise click.UsageError("name a USER, or pass --revoke USER or --revoke-all")
    if stack:
        _token_on_aws(stack, user, admin=admin, revoke=revoke is not None or revoke_all)
        return
    with require_extra("server"):
        from image_poster.editions.local import keys  # noqa: PLC0415
    if revoke is not None:
        keys.revoke_user(settings.data_dir, revoke)
        click.echo(f"all existing tokens of {revoke} were revoked", err=True)
    if revoke_all:
        keys.revoke_all(settings.data_dir)
        click.echo("all existing tokens were revoked", err=True)
    if user is not None:
        click.echo(keys.issue_token(settings.data_dir, user, days=days, admin=admin))


def _token_on_aws(stack: str, user: str | None, *, admin: bool, revoke: bool) -> None:
    if user is None or revoke:
        raise click.UsageError("with --stack, name a USER: tokens of a stack expire after an hour")
    aws = import_aws()
    click.echo(aws.token(aws.open_stack(stack), user, admin=admin))


COMMANDS = [takeout, token]
