"""The command `image-poster`: its exit codes, its errors, and its streams.

Python's own streams fail for a character that the terminal's encoding lacks. They also fail for a
closed pipe, a full disk, and a descriptor that the shell has closed. See "Note on SIGPIPE" in
https://docs.python.org/3/library/signal.html.
"""

import io
import os
import select
import sys
from typing import Any, TextIO

import click

from image_poster import __version__
from image_poster.cli import accounts, moderation, operator, posts, webhooks
from image_poster.cli.output import print_text
from image_poster.client import GaveUpError, RefusedError, SettingError, TooLateError
from image_poster.editions import OperationFailedError, StartError

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2
REFUSED, USAGE, GAVE_UP = 1, 2, 3
# Advice that the service cannot give, because it does not know that its client is a command.
_HINTS = {
    "identity_required": ". Pass --as NAME, or put a token into IMAGE_POSTER_TOKEN",
    "gone": ". Run the same command again to post it again",
}


@click.group(context_settings={"max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Post images, comment on them, read the feed, moderate, and run the service.

    Exit codes: 0 done, 1 refused, 2 wrong usage, 3 gave up (the service could not be reached, or
    the result could not be printed).
    """


for module in (operator, accounts, posts, moderation, webhooks):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the command; every expected failure is one sentence on standard error."""
    guard_streams()
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except click.Abort:
        _leave(
            "interrupted. Run the same command again: `post` and `takeout` continue where they "
            "stopped",
            GAVE_UP,
        )
    except OutputError as exc:
        _leave(
            f"the result cannot be printed: {exc}. The request was sent. Run the same command "
            "again: `post` and `comment` print the result, and send nothing twice",
            GAVE_UP,
        )
    except (OperationFailedError, TooLateError) as exc:
        _leave(str(exc), REFUSED)
    except (StartError, SettingError) as exc:
        _leave(str(exc), USAGE)
    except RefusedError as exc:
        _leave(f"{exc}{_hint(exc)}", REFUSED)
    except GaveUpError as exc:
        _leave(str(exc), GAVE_UP)
    except OSError as exc:
        place = f": {exc.filename}" if exc.filename else ""
        _leave(f"the operating system refused: {exc.strerror or exc}{place}", GAVE_UP)
    else:
        sys.exit(code)


def _hint(error: RefusedError) -> str:
    """The hint for an error's code; none for a refused token, which names the caller already."""
    if error.code == "identity_required" and "bearer token" in error.detail:
        return ""
    return _HINTS.get(error.code, "")


def _leave(sentence: str, code: int) -> None:
    print_text(f"image-poster: {sentence}", err=True)
    sys.exit(code)


class OutputError(Exception):
    """Standard output cannot be written to. (No `OSError`: click ends the process without a message
    for some of those.)"""


class _Descriptor(io.FileIO):
    """A standard descriptor. After its first failure, standard output drops everything, so that the
    end of the process does not fail once more."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self._has_failed = False

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - bytes, of any kind
        """Write bytes. Raises `OutputError` on standard output; on standard error, drops this text
        only."""
        size = memoryview(data).nbytes
        if self._has_failed:
            return size
        try:
            while (written := super().write(data)) is None:  # another program made it non-blocking
                select.select([], [self], [])
        except OSError as exc:
            if self.fileno() == _STANDARD_ERROR:
                return size  # a log on a full disk goes on once there is space
            self._has_failed = True
            raise OutputError(exc.strerror) from exc
        return written


def guard_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams that escape what they cannot encode,
    and that raise `OutputError` or nothing."""
    _open_closed_descriptors()
    sys.stdout = _guarded(_STANDARD_OUTPUT, sys.stdout)
    sys.stderr = _guarded(_STANDARD_ERROR, sys.stderr)


def _open_closed_descriptors() -> None:
    """Open a descriptor that accepts no bytes for each one that the shell has closed (`>&-`).

    Otherwise the next socket would get its number, and with it the output.
    """
    while (number := os.open(os.devnull, os.O_RDONLY)) <= _STANDARD_ERROR:
        pass
    os.close(number)


def _guarded(number: int, stream: TextIO | None) -> io.TextIOWrapper:
    encoding = "utf-8" if stream is None else stream.encoding
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(number)),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


if __name__ == "__main__":
    main()
