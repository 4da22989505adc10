"""The command `image-poster` in a forked process: as real as one that is started, and quicker."""

import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from image_poster.cli.main import main

# Imported by the commands when they run; in the parent once, for all of its children.
from image_poster.editions.local import backup, doctor, export, keys, webhooks  # noqa: F401

# What changes a disk, or begins to: https://docs.python.org/3/library/audit_events.html
CHANGES = {"open", "os.link", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.utime"}


class Outcome(NamedTuple):
    """The exit code (negative: the signal that ended it), and both outputs."""

    code: int
    stdout: str
    stderr: str


def run(*words: str | Path, prepare: Callable[[], None] | None = None) -> Outcome:
    """Run a command to its end; `prepare` is called in its process first."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        child = os.fork()
        if child == 0:
            _become(words, stdout.fileno(), stderr.fileno(), prepare)
        _, status = os.waitpid(child, 0)
        stdout.seek(0)
        stderr.seek(0)
        outcome = Outcome(os.waitstatus_to_exitcode(status), stdout.read(), stderr.read())
    assert "Traceback" not in outcome.stderr, outcome.stderr
    return outcome


def _become(
    words: tuple[str | Path, ...], stdout: int, stderr: int, prepare: Callable[[], None] | None
) -> None:
    code = 99
    try:
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - the command replaces it
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.argv = ["image-poster", *map(str, words)]
        if prepare is not None:
            prepare()
        main()
    except SystemExit as exc:
        code = int(exc.code or 0)
    except BaseException:  # noqa: BLE001 - a child must not go on with the tests
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def kill_at(moment: int) -> Callable[[], None]:
    """`kill -9` before the change of that number that the process makes to a disk."""
    count = 0

    def hook(event: str, _: tuple[object, ...]) -> None:
        nonlocal count
        if event in CHANGES:
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)

    return lambda: sys.addaudithook(hook)


def become_user(uid: int) -> Callable[[], None]:
    """Run as another user, without any right of root."""

    def change() -> None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

    return change


def limit_files(size: int) -> Callable[[], None]:
    """Let no file grow beyond so many bytes, as a disk with faults may: EFBIG (setrlimit(2))."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit
