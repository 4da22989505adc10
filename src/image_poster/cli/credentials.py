"""Operators' commands for credentials: tokens of users, and the secret of webhooks.

Each command imports its libraries when it runs, so that other commands start faster.
"""

import click

from image_poster.cli.operator import import_aws, stack_option
from image_poster.cli.options import require_extra, setting_options
from image_poster.domain.identity import UNUSABLE_USERS
from image_poster.editions.local.settings import Settings

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


@click.group()
def webhooks() -> None:
    """Manage the webhooks that the service sends, such as those of the review hook."""


@webhooks.command()
@setting_options("data_dir")
def secret(settings: Settings) -> None:
    """Print the secret by which receivers check the signature of webhooks.

    Anybody who has the secret can imitate the service: store it where only the receiver can read
    it.
    """
    with require_extra("server"):
        from image_poster.adapters.webhooks import encoded_secret  # noqa: PLC0415
        from image_poster.editions.local import data_folder, keys  # noqa: PLC0415
    data_folder.enter_with_database(settings.data_dir)
    click.echo(encoded_secret(keys.webhook_secret(settings.data_dir)))


def _token_on_aws(stack: str, user: str | None, *, admin: bool, revoke: bool) -> None:
    if user is None or revoke:
        raise click.UsageError("with --stack, name a USER: tokens of a stack expire after an hour")
    aws = import_aws()
    click.echo(aws.token(aws.open_stack(stack), user, admin=admin))


COMMANDS = [token, webhooks]
