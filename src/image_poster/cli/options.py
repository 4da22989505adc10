"""Options that several commands have in common. Those for settings are generated from `Settings`:
each setting has the same flag and the same environment variable in every command."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

import click

from image_poster.client import GaveUpError
from image_poster.client.transport import Token, base_url
from image_poster.editions import StartError
from image_poster.editions.local.settings import Settings

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# An id goes into a path, and the service's own ids have letters and digits only.
_ID = re.compile(r"[0-9A-Za-z]{1,64}")
# A person may have to answer it, say with a password.
_COMMAND_SECONDS = 120
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
        # Whether it can be read is said by the command, which acts as its owner.
        return click.Path(path_type=Path, file_okay=False, readable=False)
    if get_args(hint) == (int, NoneType):
        return int
    return click.Choice(get_args(hint)) if get_args(hint) else hint


def text(value: str) -> str:
    """A text that JSON can represent. Bytes that the locale lacks arrive as surrogates (PEP
    383)."""
    try:
        has_surrogates = any("\ud800" <= letter <= "\udfff" for letter in value)
        return os.fsencode(value).decode() if has_surrogates else value
    except UnicodeError as exc:
        raise click.BadParameter("is not UTF-8. Write the text in UTF-8.") from exc


# Named for help: click shows the function's name.
TEXT = click.types.FuncParamType(text)


def post_id_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument POST_ID."""
    return click.argument("post_id", callback=_checked_id)(command)


def _checked_id(_context: click.Context, _argument: click.Parameter, post_id: str) -> str:
    if _ID.fullmatch(post_id) is None:
        raise click.BadParameter("is not the id of a post, such as 01K5ZC3A9Q8V7N6M5K4J3H2G1F.")
    return post_id


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--url`, `--as`, `--token…` and `--json`, the options of all client commands."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--as",
            "who",
            type=TEXT,
            envvar="IMAGE_POSTER_USER",
            callback=_caller,
            help="Who you are, where names are believed.",
        ),
        _token_option("--token", "Bearer token; others here can see it, unless by variable."),
        _token_option("--token-file", "File that has the bearer token."),
        _token_option("--token-command", "Command that prints a bearer token, asked when needed."),
        click.option(
            "--url",
            type=TEXT,
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
    """The user and the token with which a command calls the service."""

    user: str | None
    token: Token | None


def _caller(context: click.Context, _option: click.Parameter, user: str | None) -> Caller:
    if user is not None and not (user.isprintable() and user == user.strip()):
        raise click.BadParameter("must be printable, without spaces at its ends.")
    given = {name: context.meta.get(f"{__name__}.{name}") for name in _TOKEN_OPTIONS}
    if given["token"]:
        try:
            return Caller(user, _one_line(given["token"], "--token"))
        except GaveUpError as exc:
            raise click.BadParameter(f"{exc}.", param_hint="--token") from exc
    if given["token_file"]:
        return Caller(user, partial(_token_of_file, Path(given["token_file"])))
    if given["token_command"]:
        return Caller(user, partial(_token_of_command, given["token_command"]))
    return Caller(user, None)


_TOKEN_OPTIONS = ("token", "token_file", "token_command")


def _token_option(flag: str, help_text: str) -> Decorator:
    """An option that stores its value for `_caller`, which runs after it."""

    def keep(context: click.Context, option: click.Parameter, value: str | None) -> None:
        context.meta[f"{__name__}.{option.name}"] = value

    name = flag.removeprefix("--").replace("-", "_")
    return click.option(
        flag,
        envvar=variable(name),
        is_eager=True,
        expose_value=False,
        callback=keep,
        show_envvar=True,
        help=help_text,
    )


def _token_of_file(path: Path) -> str:
    """Read the token anew each time, because it may be renewed. Raises `GaveUpError`."""
    try:
        return _one_line(path.read_text(), f"the file {path}")
    except (OSError, UnicodeDecodeError) as exc:
        raise GaveUpError(f"the token cannot be read from {path}: {exc}") from exc


def _token_of_command(command: str) -> str:
    """Run a command that prints a token. Raises `GaveUpError`."""
    try:
        words = shlex.split(command)
        done = subprocess.run(  # noqa: S603 - the user's own
            words, stdout=subprocess.PIPE, text=True, timeout=_COMMAND_SECONDS, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        raise GaveUpError(f"no token came from {command!r}: {exc}") from exc
    return _one_line(done.stdout, repr(command))


def _one_line(text: str, source: str) -> str:
    """Strip a text that must be a bearer token of one line. Raises `GaveUpError`."""
    found = text.strip()
    if not found or not found.isascii() or any(letter.isspace() for letter in found):
        raise GaveUpError(f"{source} gives no bearer token")
    return found


def _checked_url(_context: click.Context, _option: click.Parameter, url: str) -> str:
    try:
        base_url(url)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    return url


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Guard imports that need the libraries of an extra, `[server]` or `[aws]`. Raises
    `StartError`, which says what to install, if a library is missing."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "image_poster":
            raise  # a mistake of ours, which no installation mends
        raise StartError(
            f"this command needs more than a client: pip install 'image-poster-api[{extra}]'"
        ) from exc
