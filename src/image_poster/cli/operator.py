"""Operators' commands: on a data folder, beside a running server or without one, or on a stack on
AWS.

Each command imports its libraries when it runs, so that other commands start faster.
"""

import os
from pathlib import Path
from typing import Any

import click

from image_poster.cli.options import require_extra, setting_options
from image_poster.editions.local.settings import Settings

_NICENESS = 10
_NOTHING = "nothing has failed"

stack_option = click.option(
    "--stack",
    envvar="IMAGE_POSTER_STACK",
    help="Name of a stack on AWS, instead of a data folder.",
)


@click.command()
@setting_options()
def serve(settings: Settings) -> None:
    """Serve the API from one machine, until Ctrl-C or SIGTERM."""
    with require_extra("server"):
        from image_poster.editions.local.serve import serve as serve_local  # noqa: PLC0415
    serve_local(settings)


@click.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    with require_extra("server"):
        from image_poster.http.app import openapi_document  # noqa: PLC0415

        document = openapi_document()  # imports the metrics' library
    click.echo(document)


@click.command()
@stack_option
@setting_options("data_dir")
def rebuild(stack: str | None, settings: Settings) -> None:
    """Recompute counts and latest comments, correct times that a wrong clock stored, and report
    each repair."""
    if stack:
        _rebuild_on_aws(stack)
        return
    report = _local().rebuild(settings)
    for drift in report.drifted:
        click.echo(
            f"{drift.post_id}: corrected its count of comments from {drift.total_was} "
            f"to {drift.total_is}"
        )
    for repair in report.repaired:
        change = "raised the epoch of the feed, which was older than this post"
        if repair.documents:
            change = f"corrected times in {repair.documents} documents (post, comments)"
        click.echo(f"{repair.post_id}: {change}")
    click.echo(f"{report.checked} posts checked, {len(report.drifted)} counts corrected")


def _rebuild_on_aws(stack: str) -> None:
    aws = import_aws()
    report = aws.rebuild(aws.open_stack(stack))
    for repair in report.repairs:
        error = f": {repair.error}" if repair.error else ""
        click.echo(f"{repair.post_id}: {repair.action}{error}")
    failed = sum(repair.error is not None for repair in report.repairs)
    repaired = len(report.repairs) - failed
    click.echo(f"{report.checked} posts checked, {repaired} repaired, {failed} failed")
    if failed:
        click.get_current_context().exit(1)


@click.command()
@click.option("--deep", is_flag=True, help="Also read every image, and compare its hash.")
@click.option(
    "--restore-quarantine", is_flag=True, help="First put back the files whose posts exist."
)
@setting_options()
def doctor(*, deep: bool, restore_quarantine: bool, settings: Settings) -> None:
    """Check settings, disk, clock, database, image formats, images, leftovers and quarantine; exit
    1 if something is wrong."""
    if restore_quarantine:
        click.echo(f"{_local().restore_quarantine(settings):,} files put back", err=True)
    findings = _local().examine(settings, deep=deep)
    for finding in findings:
        mark = click.style("ok  ", fg="green") if finding.ok else click.style("BAD ", fg="red")
        click.echo(f"{mark} {finding.subject:10} {finding.remark}")
    if not all(finding.ok for finding in findings):
        click.get_current_context().exit(1)


@click.command()
@click.option("--replay", is_flag=True, help="Start all of this work again.")
@stack_option
@setting_options("data_dir")
def failed(*, replay: bool, stack: str | None, settings: Settings) -> None:
    """List failed work that is not retried (the dead letters)."""
    if stack:
        _failed_on_aws(stack, replay=replay)
    else:
        _failed_here(settings, replay=replay)


def _failed_here(settings: Settings, *, replay: bool) -> None:
    local = _local()
    if replay:
        due, failures = local.replay(settings)
        for post_id in due:
            click.echo(f"{post_id} will be tried again")
        for failure in failures:
            click.echo(f"{failure.post_id} cannot be replayed: {failure.error!r}", err=True)
        if failures:
            click.get_current_context().exit(1)
        return
    waiting = local.parked(settings)
    for job in waiting:
        click.echo(f"{job.post_id}  after {job.leases} attempts: {job.error}")
    if not waiting:
        click.echo(_NOTHING)


def _failed_on_aws(stack: str, *, replay: bool) -> None:
    aws = import_aws()
    opened = aws.open_stack(stack)
    if replay:
        for result in aws.replay(opened):
            click.echo(f"{result.work} {result.reason or 'will be tried again'}")
        return
    count = 0
    for count, failure in enumerate(aws.parked(opened), 1):  # noqa: B007 - used after the loop
        click.echo(f"{failure.work}  {failure.reason}")
    if not count:
        click.echo(_NOTHING)


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--keep",
    type=click.IntRange(1),
    default=7,
    show_default=True,
    help="Number of newest generations to keep.",
)
@click.option(
    "--allow-other-files",
    is_flag=True,
    help="Accept a TARGET with other files; they are not changed.",
)
@click.option(
    "--allow-other-source",
    is_flag=True,
    help="Accept a TARGET with backups of another data folder; they are not changed.",
)
@click.option(
    "--allow-loss",
    is_flag=True,
    help="Back up although most posts are missing, or the database is older.",
)
@setting_options("data_dir")
def backup(
    *,
    target: Path,
    keep: int,
    allow_other_files: bool,
    allow_other_source: bool,
    allow_loss: bool,
    settings: Settings,
) -> None:
    """Copy the data folder to TARGET, also while the server runs. The copy is a new generation: a
    folder named after the time (UTC). Files that have not changed are hard links to the last
    generation's files."""
    with require_extra("server"):
        from image_poster.editions.local.backup import back_up  # noqa: PLC0415
        from image_poster.editions.local.generations import BackupOptions  # noqa: PLC0415
    os.nice(_NICENESS)  # requests come first
    options = BackupOptions(keep, allow_other_files, allow_other_source, allow_loss)
    report = back_up(settings.data_dir, target, _say_progress, options)
    click.echo(
        f"{target}: generation {report.generation}, {report.files:,} files and the database; "
        f"{report.copied:,} files copied"
    )
    if report.incomplete:
        click.echo(
            f"the data folder lacks files of these posts: {', '.join(report.incomplete)}. All "
            "earlier generations were kept. Run `image-poster doctor`, which lists the missing "
            "files.",
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
@click.option(
    "--new-id", is_flag=True, help="Give the folder a new id, so that it is another source."
)
@setting_options("data_dir")
def restore(
    *,
    source: Path,
    generation: str,
    keep_tokens: bool,
    new_id: bool,
    settings: Settings,
) -> None:
    """Restore a backup from SOURCE into an empty data folder, and check every file."""
    with require_extra("server"):
        from image_poster.editions.local import restore as local_restore  # noqa: PLC0415
    options = local_restore.RestoreOptions(generation, keep_tokens, new_id)
    report = local_restore.restore(source, settings.data_dir, _say_progress, options)
    click.echo(
        f"{settings.data_dir}: {report.files:,} files and the database restored and checked "
        f"(generation {report.generation})"
    )
    if not keep_tokens:
        click.echo(
            "all tokens of the service's own key were revoked: create new ones (`token`)", err=True
        )


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@setting_options("data_dir")
def export(target: Path, settings: Settings) -> None:
    """Write posts, comments and originals into TARGET, as plain files (JSON lines and images)."""
    with require_extra("server"):
        from image_poster.editions.local import export as local_export  # noqa: PLC0415
    report = local_export.export(settings.data_dir, target, _say_progress)
    click.echo(f"{target}: {report.posts:,} posts, {report.comments:,} comments")
    if report.withheld:
        click.echo(
            f"{report.withheld:,} posts are hidden, in review or rejected: they are in "
            "withheld.jsonl, which `import` does not read"
        )
    if report.incomplete:
        click.echo(
            f"not exported, because the original is missing: {', '.join(report.incomplete)}",
            err=True,
        )
        click.get_current_context().exit(1)


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@setting_options()
def import_(source: Path, settings: Settings) -> None:
    """Import an export from SOURCE. A repeated import adds only new posts and comments."""
    with require_extra("server"):
        from image_poster.editions.local import export as local_export  # noqa: PLC0415
    report = local_export.import_(settings, source, _say_progress)
    click.echo(f"{report.posts:,} posts and {report.comments:,} comments added")
    if report.deleted:
        click.echo(f"{report.deleted:,} posts not imported, because users deleted them here")
    if report.banned:
        click.echo(f"{report.banned:,} posts not imported, because their creators are banned here")


def _say_progress(text: str) -> None:
    click.echo(text, err=True)


def _local() -> Any:  # noqa: ANN401 - a module
    with require_extra("server"):
        from image_poster.editions.local import doctor  # noqa: PLC0415
    return doctor


def import_aws() -> Any:  # noqa: ANN401 - a module
    """The module with the commands for a stack."""
    with require_extra("aws"):
        from image_poster.editions.aws import operate  # noqa: PLC0415
    return operate


COMMANDS = [
    *(serve, openapi, rebuild, doctor, failed),
    *(backup, restore, export, import_),
]
