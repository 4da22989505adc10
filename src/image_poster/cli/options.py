"""Options that several commands take. Those of settings are made from `Settings`, so that each is
one flag and one variable, everywhere."""

import os
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import click

from image_poster.client.transport import base_url
from image_poster.editions.local.settings import Settings

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_HINTS = get_type_hints(Settings)


def setting_options(*names: str) -> Decorator:
    """The options of the named settings, or of all."""
    chosen = [found for found in fields(Settings) if not names or found.name in names]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for found in reversed(chosen):
            command = _option(found)(command)
        return command

    return decorate


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return f"IMAGE_POSTER_{setting.upper()}"


def _option(found: Field[Any]) -> Decorator:
    flag = f"--{found.name.replace('_', '-')}"
    common: dict[str, Any] = {
        "envvar": variable(found.name),
        "default": found.default,
        "show_default": True,
        "show_envvar": True,
        "help": found.metadata["help"],
    }
    if _HINTS[found.name] is bool:
        return click.option(flag, is_flag=True, **common)
    return click.option(flag, type=_kind(found.name), **common)


def _kind(name: str) -> Any:  # noqa: ANN401 - what click takes as a type
    hint = _HINTS[name]
    if hint is Path:
        return click.Path(path_type=Path, file_okay=False)
    return click.Choice(get_args(hint)) if get_args(hint) else hint


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--url`, `--as` and `--json`, which all commands of a client take."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--as",
            "who",
            envvar="IMAGE_POSTER_USER",
            callback=_caller,
            help="Who you are; or set IMAGE_POSTER_TOKEN to a bearer token.",
        ),
        click.option(
            "--url",
            envvar="IMAGE_POSTER_URL",
            default="http://127.0.0.1:8080",
            show_default=True,
            callback=_checked_url,
            help="Where the service is.",
        ),
    ):
        command = option(command)
    return command


class Caller(NamedTuple):
    """Who calls. A token is a secret, so it is read from the environment only."""

    user: str | None
    token: str | None


def _caller(_context: click.Context, _option: click.Parameter, user: str | None) -> Caller:
    return Caller(user, os.environ.get("IMAGE_POSTER_TOKEN"))


def _checked_url(_context: click.Context, _option: click.Parameter, url: str) -> str:
    try:
        base_url(url)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    return url
