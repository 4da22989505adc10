"""Options that several commands have in common. Those for settings are generated from `Settings`:
each setting has the same flag and the same environment variable in every command."""

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field, fields
from functools import partial, wraps
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import click

from image_poster.client import GaveUpError
from image_poster.client.transport import Token, base_url
from image_poster.editions import StartError
from image_poster.editions.local.settings import Settings

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

# An id goes into a path, and the service's own ids have letters and digits only.
_ID = re.compile(r"[0-9A-Za-z]{1,64}")
# A person may have to answer it, say with a password.
_COMMAND_SECONDS = 120
_HINTS = get_type_hints(Settings)


def setting_options(*names: str) -> Decorator:
    """The options of the named settings, or of all. The command gets them as `settings`."""
    chosen = [setting for setting in fields(Settings) if not names or setting.name in names]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_settings(**options: object) -> None:
            values: dict[str, Any] = {field.name: options.pop(field.name) for field in chosen}
            command(settings=Settings(**values), **options)

        decorated: Command = with_settings
        for setting in reversed(chosen):
            decorated = _setting_option(setting)(decorated)
        return decorated

    return decorate


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return f"IMAGE_POSTER_{setting.upper()}"


def _setting_option(setting: Field[Any]) -> Decorator:
    hint = _HINTS[setting.name]
    kind: dict[str, Any] = {"type": hint}
    if hint is bool:
        kind = {"is_flag": True}
    elif hint is Path:
        # The command itself checks access, because it acts as the folder's owner.
        kind = {"type": click.Path(path_type=Path, file_okay=False, readable=False)}
    elif get_origin(hint) is tuple:
        kind = {"type": TEXT, "multiple": True}
    elif get_args(hint):
        is_number = get_args(hint) == (int, NoneType)
        kind = {"type": int if is_number else click.Choice(get_args(hint))}
    return click.option(
        f"--{setting.name.replace('_', '-')}",
        envvar=variable(setting.name),
        default=setting.default,
        show_default=True,
        show_envvar=True,
        help=setting.metadata["help"],
        **kind,
    )


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


def _checked_id(_context: click.Context, _argument: click.Parameter, post_id: str) -> str:
    if _ID.fullmatch(post_id) is None:
        raise click.BadParameter("is not the id of a post, such as 01K5ZC3A9Q8V7N6M5K4J3H2G1F.")
    return post_id


post_id_argument = click.argument("post_id", callback=_checked_id)


class Caller(NamedTuple):
    """The user and the token with which a command calls the service."""

    user: str | None
    token: Token | None


def client_options(command: Command) -> Command:
    """Add `--url`, `--as`, `--token…` and `--json`, the options of all client commands. The command
    gets `url`, `as_json`, and a `Caller` as `caller`."""

    @wraps(command)
    def with_caller(
        *,
        user: str | None,
        token: str | None,
        token_file: str | None,
        token_command: str | None,
        **options: object,
    ) -> None:
        command(caller=Caller(user, _token(token, token_file, token_command)), **options)

    decorated: Command = with_caller
    for option in _CLIENT_OPTIONS:
        decorated = option(decorated)
    return decorated


def _token_option(flag: str, help_text: str) -> Decorator:
    name = variable(flag.removeprefix("--").replace("-", "_"))
    return click.option(flag, envvar=name, show_envvar=True, help=help_text)


def _checked_user(
    _context: click.Context, _option: click.Parameter, user: str | None
) -> str | None:
    if user is not None and not (user.isprintable() and user == user.strip()):
        raise click.BadParameter("must be printable, without spaces at its ends.")
    return user


def _checked_url(_context: click.Context, _option: click.Parameter, url: str) -> str:
    try:
        base_url(url)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc
    return url


_CLIENT_OPTIONS = (
    click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    click.option(
        "--as",
        "user",
        type=TEXT,
        envvar="IMAGE_POSTER_USER",
        callback=_checked_user,
        help="Your user name, for a service with --auth dev.",
    ),
    _token_option(
        "--token",
        "Bearer token. Other users of this machine can read it, unless you set the variable.",
    ),
    _token_option("--token-file", "File that has the bearer token."),
    _token_option("--token-command", "Command that prints a bearer token; run when needed."),
    click.option(
        "--url",
        type=TEXT,
        envvar="IMAGE_POSTER_URL",
        default="http://127.0.0.1:8080",
        show_default=True,
        callback=_checked_url,
        help="URL of the service.",
    ),
)


def _token(token: str | None, file: str | None, command: str | None) -> Token | None:
    """The token, or a function that reads it anew each time, because it may be renewed."""
    if token:
        try:
            return _one_line(token, "--token")
        except GaveUpError as exc:
            raise click.BadParameter(f"{exc}.", param_hint="--token") from exc
    if file:
        return partial(_token_of_file, Path(file))
    return partial(_token_of_command, command) if command else None


def _token_of_file(path: Path) -> str:
    """Read a token. Raises `GaveUpError`."""
    try:
        return _one_line(path.read_text(), f"the file {path}")
    except (OSError, UnicodeDecodeError) as exc:
        raise GaveUpError(f"the token cannot be read from {path}: {exc}") from exc


def _token_of_command(command: str) -> str:
    """Run a command that prints a token. Raises `GaveUpError`."""
    try:
        words = shlex.split(command)
        result = subprocess.run(  # noqa: S603 - the user's own
            words, stdout=subprocess.PIPE, text=True, timeout=_COMMAND_SECONDS, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        raise GaveUpError(f"no token came from {command!r}: {exc}") from exc
    return _one_line(result.stdout, repr(command))


def _one_line(text: str, source: str) -> str:
    """Strip a text that must be a bearer token of one line. Raises `GaveUpError`."""
    line = text.strip()
    if not line or not line.isascii() or any(letter.isspace() for letter in line):
        raise GaveUpError(f"{source} has no bearer token")
    return line


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Guard imports that need the libraries of an extra, `[server]` or `[aws]`. Raises
    `StartError`, with the installation command, if a library is missing."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == "image_poster":
            raise  # a mistake of ours, which no installation repairs
        raise StartError(
            f"this command needs more than a client: pip install 'image-poster-api[{extra}]'"
        ) from exc
