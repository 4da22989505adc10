"""Operators' commands: on a data folder, beside a running server or without one, or on a stack on
AWS.

Each command imports its libraries when it runs, so that other commands start faster.
"""

from typing import Any

import click

from image_poster.cli.options import needs, setting_options
from image_poster.editions.local.settings import Settings

# As for the header user-id; a token that holds for longer than ten years is a mistake.
_MAX_USER_CHARACTERS, _MAX_TOKEN_DAYS = 128, 3650
_NOTHING = "nothing has failed"

stack_option = click.option(
    "--stack",
    envvar="IMAGE_POSTER_STACK",
    help="Name of a stack on AWS, instead of a data folder.",
)


@click.command()
@setting_options()
def serve(**settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """Serve the API from one machine, until Ctrl-C or SIGTERM."""
    checked = Settings(**settings)
    # Imported here: no other command should wait for the server's libraries.
    with needs("server"):
        from image_poster.editions.local.serve import serve as serve_local  # noqa: PLC0415

    serve_local(checked)


@click.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    with needs("server"):
        from image_poster.http.app import openapi_document  # noqa: PLC0415

        document = openapi_document()  # imports the metrics' library
    click.echo(document)


@click.command()
@stack_option
@setting_options("data_dir")
def rebuild(stack: str | None, **settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """Derive counts and latest comments anew, correct times that a wrong clock stored, and report
    each repair."""
    if stack:
        _rebuild_on_aws(stack)
        return
    rebuilt = _local().rebuild(Settings(**settings))
    for drift in rebuilt.drifted:
        click.echo(
            f"{drift.post_id}: {drift.total_was} comments kept, {drift.total_is} found; mended"
        )
    for repair in rebuilt.repaired:
        click.echo(_repair_text(repair))
    click.echo(f"{rebuilt.checked} posts checked, {len(rebuilt.drifted)} had drifted")


def _repair_text(repair: Any) -> str:  # noqa: ANN401 - a `TimeRepair`
    if not repair.documents:
        return f"{repair.post_id}: newer than the feed's epoch, which was raised"
    return f"{repair.post_id}: times corrected in {repair.documents} documents (post, comments)"


def _rebuild_on_aws(stack: str) -> None:
    aws = _aws()
    rebuilt = aws.rebuild(aws.open_stack(stack))
    for repair in rebuilt.repairs:
        error = f": {repair.error}" if repair.error else ""
        click.echo(f"{repair.post_id}: {repair.action}{error}")
    failed = sum(repair.error is not None for repair in rebuilt.repairs)
    mended = len(rebuilt.repairs) - failed
    click.echo(f"{rebuilt.checked} posts checked, {mended} mended, {failed} could not be")
    if failed:
        click.get_current_context().exit(1)


@click.command()
@click.option("--deep", is_flag=True, help="Read every image, and compare its hash.")
@click.option(
    "--restore-quarantine", is_flag=True, help="First put back the files whose posts are known."
)
@setting_options()
def doctor(*, deep: bool, restore_quarantine: bool, **settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """Check settings, disk, clock, database, image formats, images, leftovers and quarantine; exit
    1 if something is wrong."""
    checked = Settings(**settings)
    if restore_quarantine:
        click.echo(f"{_local().restore_quarantine(checked):,} files put back", err=True)
    with needs("server"):
        from image_poster.editions.local.doctor import examine  # noqa: PLC0415
    findings = examine(checked, deep=deep)
    for finding in findings:
        mark = click.style("ok  ", fg="green") if finding.well else click.style("BAD ", fg="red")
        click.echo(f"{mark} {finding.subject:10} {finding.remark}")
    if not all(finding.well for finding in findings):
        click.get_current_context().exit(1)


@click.command()
@click.option("--replay", is_flag=True, help="Try all of them again.")
@stack_option
@setting_options("data_dir")
def failed(*, replay: bool, stack: str | None, **settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """List work that was given up (the dead-letter place)."""
    if stack:
        _failed_on_aws(stack, replay=replay)
    else:
        _failed_here(Settings(**settings), replay=replay)


def _failed_here(checked: Settings, *, replay: bool) -> None:
    local = _local()
    if replay:
        due, failures = local.replay(checked)
        for post_id in due:
            click.echo(f"{post_id} is due again")
        for failure in failures:
            click.echo(f"{failure.post_id} cannot be replayed: {failure.error!r}", err=True)
        if failures:
            click.get_current_context().exit(1)
        return
    waiting = local.parked(checked)
    for job in waiting:
        click.echo(f"{job.post_id}  after {job.leases} attempts: {job.error}")
    if not waiting:
        click.echo(_NOTHING)


def _failed_on_aws(stack: str, *, replay: bool) -> None:
    aws = _aws()
    opened = aws.open_stack(stack)
    if replay:
        for done in aws.replay(opened):
            click.echo(f"{done.work} {'is due again' if done.reason is None else done.reason}")
        return
    anything = False
    for failure in aws.parked(opened):
        anything = True
        click.echo(f"{failure.work}  {failure.reason}")
    if not anything:
        click.echo(_NOTHING)


def _user(_context: click.Context, _argument: click.Parameter, user: str | None) -> str | None:
    if user is None:
        return None
    name = user.strip()
    if not name or len(name) > _MAX_USER_CHARACTERS or not name.isprintable():
        raise click.BadParameter(f"must have 1 to {_MAX_USER_CHARACTERS} printable characters")
    return name


@click.command()
@click.argument("user", required=False, callback=_user)
@click.option(
    "--days",
    type=click.IntRange(1, _MAX_TOKEN_DAYS),
    default=30,
    show_default=True,
    help="How long it holds.",
)
@click.option("--admin", is_flag=True, help="The user may edit and delete everyone's posts.")
@click.option(
    "--revoke", metavar="USER", callback=_user, help="Make all former tokens of USER invalid."
)
@click.option("--revoke-all", is_flag=True, help="First make all former tokens invalid.")
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
    **settings: Any,  # noqa: ANN401 - one for each setting
) -> None:
    """Print a bearer token for USER, of the service's own key, for a server with --auth jwt; with
    --stack, of a test user of that stack (stages that are not prod), for an hour.

    Who has it is USER. It is on standard output, alone: keep it where only USER can read it.
    """
    if revoke is not None and (user is not None or revoke_all):
        raise click.UsageError("pass --revoke USER alone, without another USER or --revoke-all")
    if user is None and revoke is None and not revoke_all:
        raise click.UsageError("name a USER, or pass --revoke USER or --revoke-all")
    if stack:
        _token_on_aws(stack, user, admin=admin, revoke=revoke is not None or revoke_all)
        return
    checked, local = Settings(**settings), _local()
    if revoke is not None:
        local.revoke_user(checked, revoke)
        click.echo(f"all former tokens of {revoke} are invalid", err=True)
    if revoke_all:
        local.revoke_tokens(checked)
        click.echo("all former tokens are invalid", err=True)
    if user is not None:
        click.echo(local.token(checked, user, days=days, admin=admin))


def _token_on_aws(stack: str, user: str | None, *, admin: bool, revoke: bool) -> None:
    if user is None or revoke:
        raise click.UsageError("with --stack, name a USER; its tokens hold an hour")
    aws = _aws()
    click.echo(aws.token(aws.open_stack(stack), user, admin=admin))


def _local() -> Any:  # noqa: ANN401 - a module
    with needs("server"):
        from image_poster.editions.local import operate  # noqa: PLC0415
    return operate


def _aws() -> Any:  # noqa: ANN401 - a module
    with needs("aws"):
        from image_poster.editions.aws import operate  # noqa: PLC0415
    return operate


COMMANDS = [serve, openapi, rebuild, doctor, failed, token]
