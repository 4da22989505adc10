"""For who operates: on a data folder, beside a running server or without one.

What a command works with is imported when it runs: nobody else should wait for it.
"""

from typing import Any

import click

from image_poster.cli.options import setting_options
from image_poster.editions.local.settings import Settings


@click.command()
@setting_options("data_dir")
def rebuild(**settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """Derive counts and latest comments anew, and report what had drifted."""
    from image_poster.editions.local import operate  # noqa: PLC0415

    rebuilt = operate.rebuild(Settings(**settings))
    for drift in rebuilt.drifted:
        click.echo(
            f"{drift.post_id}: {drift.total_was} comments kept, {drift.total_is} found; mended"
        )
    click.echo(f"{rebuilt.checked} posts checked, {len(rebuilt.drifted)} had drifted")


@click.command()
@setting_options()
def doctor(**settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """Check settings, disk, database, image formats and leftovers; exit 1 if something is wrong."""
    from image_poster.editions.local import operate  # noqa: PLC0415

    findings = operate.examine(Settings(**settings))
    for finding in findings:
        mark = click.style("ok  ", fg="green") if finding.well else click.style("BAD ", fg="red")
        click.echo(f"{mark} {finding.subject:10} {finding.remark}")
    if not all(finding.well for finding in findings):
        click.get_current_context().exit(1)


@click.command()
@click.option("--replay", is_flag=True, help="Try all of them again.")
@setting_options("data_dir")
def failed(*, replay: bool, **settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """List image work that was given up (the dead-letter place)."""
    from image_poster.editions.local import operate  # noqa: PLC0415

    checked = Settings(**settings)
    if replay:
        for post_id in operate.replay(checked):
            click.echo(f"{post_id} is due again")
        return
    waiting = operate.parked(checked)
    for job in waiting:
        click.echo(f"{job.post_id}  after {job.leases} attempts: {job.error}")
    if not waiting:
        click.echo("nothing has failed")


COMMANDS = [rebuild, doctor, failed]
