"""The command `image-poster webhooks`: the receivers of events, and the secret that signs them."""

from typing import TYPE_CHECKING, Any

import click

from image_poster.cli.options import require_extra, setting_options
from image_poster.cli.output import print_text
from image_poster.domain.ids import rfc3339
from image_poster.editions.local.settings import Settings

if TYPE_CHECKING:
    from image_poster.ports.events import EndpointReport


@click.group(invoke_without_command=True)
@click.option(
    "--replay",
    is_flag=True,
    help="Send all parked and failed events now, and switch all endpoints on.",
)
@setting_options("data_dir")
@click.pass_context
def webhooks(context: click.Context, *, replay: bool, settings: Settings) -> None:
    """List the endpoints that receive webhooks, with their waiting events and the last error; exit
    1 if an endpoint has parked or deleted events, or is off.

    An event is parked after its last try, in its third day. An endpoint is off once it has answered
    410.
    """
    if context.invoked_subcommand is not None:
        source = context.get_parameter_source("data_dir")
        if replay or source is click.core.ParameterSource.COMMANDLINE:
            command = context.invoked_subcommand
            raise click.UsageError(f"pass --data-dir after `{command}`, and --replay without it")
        return
    local = _local()
    if replay:
        number = local.replay(settings)
        click.echo(
            f"{number:,} events are due now, as if they were new. All endpoints are switched on."
        )
    reports = local.report_endpoints(settings)
    for report in reports:
        _print_report(report)
    if not reports:
        click.echo("no endpoint: start the server with --webhook URL")
    if any(_needs_operator(report) for report in reports):
        context.exit(1)


def _needs_operator(report: "EndpointReport") -> bool:
    return bool(report.parked or report.dropped or report.endpoint.is_off)


def _print_report(report: "EndpointReport") -> None:
    endpoint = report.endpoint
    state = "on"
    if not report.is_configured:
        state = "removed"
    elif endpoint.is_off:
        state = "off, because it answered 410: --replay switches it on"
    print_text(f"{endpoint.id}  {endpoint.url}  {state}")
    since = f" since {rfc3339(report.oldest_ms)}" if report.oldest_ms is not None else ""
    counts = f"{report.waiting:,} waiting{since}, {report.parked:,} parked"
    if report.dropped:
        counts += f", {report.dropped:,} deleted because too many waited"
    click.echo(f"    {counts}")
    if report.last_error is not None and report.failed_ms is not None:
        print_text(f"    last error, {rfc3339(report.failed_ms)}: {report.last_error}")


@webhooks.command()
@click.option(
    "--rotate",
    is_flag=True,
    help="First create a new secret. For a day, the former one signs too.",
)
@setting_options("data_dir")
def secret(*, rotate: bool, settings: Settings) -> None:
    """Print the secret by which receivers check the signature of webhooks.

    Anybody who has the secret can imitate the service: store it where only the receiver can read
    it.
    """
    click.echo(_local().read_secret(settings, rotate=rotate))


@webhooks.command()
@setting_options("data_dir")
def test(settings: Settings) -> None:
    """Send an event of type `ping` to each endpoint, and print the result; exit 1 if one failed."""
    results = _local().ping(settings)
    for result in results:
        print_text(f"{result.url}  {result.error or 'accepted the ping'}")
    if any(result.error for result in results):
        click.get_current_context().exit(1)


def _local() -> Any:  # noqa: ANN401 - a module
    with require_extra("server"):
        from image_poster.editions.local import webhooks as local  # noqa: PLC0415
    return local


COMMANDS = [webhooks]
