"""The command `image-poster`."""

import sys

import click

from image_poster import __version__
from image_poster.cli import backups, operator, posts, user
from image_poster.cli.output import say
from image_poster.cli.streams import OutputError, guard_streams
from image_poster.client import GaveUpError, RefusedError, SettingError, TooLateError
from image_poster.editions import OperationFailedError, StartError

REFUSED, USAGE, GAVE_UP = 1, 2, 3
# What the service cannot know that its client is a command.
_HINTS = {
    "identity_required": ". Say it by --as NAME, or put a token into IMAGE_POSTER_TOKEN",
    "gone": ". The same command once more posts it by a new one",
}


@click.group(context_settings={"max_content_width": 100})
@click.version_option(__version__)
def cli() -> None:
    """Post images, comment on them, read the feed, and serve all that.

    Exit codes: 0 done, 1 refused, 2 wrong usage, 3 gave up (the service could not be reached, or
    the result not be printed).
    """


for module in (operator, backups, posts, user):
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
        _leave("interrupted; `post` goes on where it was by the same command", GAVE_UP)
    except OutputError as exc:
        _leave(
            f"the result cannot be printed: {exc}. What was sent is done; `post` and `comment` "
            "print it by the same command, and send nothing twice",
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
    """The hint for an error's code; none for a refused token, whose sender is identified
    already."""
    if error.code == "identity_required" and "bearer token" in error.detail:
        return ""
    return _HINTS.get(error.code, "")


def _leave(sentence: str, code: int) -> None:
    say(f"image-poster: {sentence}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
