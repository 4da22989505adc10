"""Operators' commands that copy a data folder, and restore or import a copy.

Each command imports its libraries when it runs, so that other commands start faster.
"""

import os
from pathlib import Path
from typing import Any

import click

from image_poster.cli.options import needs, setting_options
from image_poster.editions.local.settings import Settings

_NICENESS = 10


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=7,
    show_default=True,
    help="Number of generations that stay.",
)
@click.option(
    "--allow-other-files", is_flag=True, help="Accept a TARGET that holds other files: they stay."
)
@click.option(
    "--allow-other-source",
    is_flag=True,
    help="Accept a TARGET that holds backups of another data folder: they stay.",
)
@click.option(
    "--allow-loss", is_flag=True, help="Accept that most posts are gone, or an older database."
)
@setting_options("data_dir")
def backup(
    *,
    target: Path,
    keep: int,
    allow_other_files: bool,
    allow_other_source: bool,
    allow_loss: bool,
    **settings: Any,  # noqa: ANN401 - one for each setting
) -> None:
    """Copy the data folder to TARGET while it serves, as a new generation: a folder named after the
    time (UTC). Files that have not changed are hard links to the last generation's files."""
    with needs("server"):
        from image_poster.editions.local.backup import back_up  # noqa: PLC0415
        from image_poster.editions.local.generations import BackupOptions  # noqa: PLC0415
    os.nice(_NICENESS)  # requests come first
    options = BackupOptions(keep, allow_other_files, allow_other_source, allow_loss)
    done = back_up(Settings(**settings).data_dir, target, _report, options)
    click.echo(
        f"{target}: generation {done.generation}, {done.files:,} files and the database; "
        f"{done.copied:,} copied anew"
    )
    if done.incomplete:
        click.echo(
            f"files are missing in the data folder, of {', '.join(done.incomplete)}. All earlier "
            "generations stay; `image-poster doctor` says more.",
            err=True,
        )
        click.get_current_context().exit(1)


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--generation", default="", metavar="TIME", help="A generation's name. Default: the newest."
)
@click.option(
    "--keep-tokens",
    is_flag=True,
    help="Restore the key of the service's own tokens: those that were not revoked stay valid.",
)
@click.option("--new-id", is_flag=True, help="Make the folder another source for backups.")
@setting_options("data_dir")
def restore(
    *,
    source: Path,
    generation: str,
    keep_tokens: bool,
    new_id: bool,
    **settings: Any,  # noqa: ANN401 - one for each setting
) -> None:
    """Make an empty data folder what it was when `backup` wrote to SOURCE, and check every file."""
    with needs("server"):
        from image_poster.editions.local import restore as local_restore  # noqa: PLC0415
    data_dir = Settings(**settings).data_dir
    options = local_restore.RestoreOptions(generation, keep_tokens, new_id)
    done = local_restore.restore(source, data_dir, _report, options)
    click.echo(
        f"{data_dir}: {done.files:,} files and the database, all as they were copied (generation "
        f"{done.generation})"
    )
    if not keep_tokens:
        click.echo("tokens of the service's own key are invalid: make new ones (`token`)", err=True)


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@setting_options("data_dir")
def export(target: Path, **settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """Write posts, comments and originals into TARGET, as plain files that anybody can read."""
    with needs("server"):
        from image_poster.editions.local import export as local_export  # noqa: PLC0415
    done = local_export.export(Settings(**settings).data_dir, target, _report)
    click.echo(f"{target}: {done.posts:,} posts, {done.comments:,} comments")
    if done.incomplete:
        click.echo(f"left out, without an original: {', '.join(done.incomplete)}", err=True)
        click.get_current_context().exit(1)


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@setting_options()
def import_(source: Path, **settings: Any) -> None:  # noqa: ANN401 - one for each setting
    """Take in what `export` wrote to SOURCE; again, it takes only what is new."""
    with needs("server"):
        from image_poster.editions.local import export as local_export  # noqa: PLC0415
    done = local_export.import_(Settings(**settings), source, _report)
    click.echo(f"{done.posts:,} posts and {done.comments:,} comments are new here")
    if done.deleted:
        click.echo(f"{done.deleted:,} posts were deleted here, and stay so")


def _report(what: str) -> None:
    click.echo(what, err=True)


COMMANDS = [backup, restore, export, import_]
