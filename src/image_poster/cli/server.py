"""For who serves."""

from typing import Any

import click

from image_poster.cli.extras import needs
from image_poster.cli.options import setting_options
from image_poster.editions.local.settings import Settings


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


COMMANDS = [serve, openapi]
