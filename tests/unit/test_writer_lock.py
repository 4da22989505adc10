"""Processes that write into one database take turns, each a process of its own here."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from image_poster.adapters.sharing import WriterLock, anonymous_file
from support.waiting import wait_until

WRITER = """
import sys
from image_poster.adapters.sharing import WriterLock
writer_lock = WriterLock(int(sys.argv[1]))
for number in range(int(sys.argv[3])):
    with writer_lock.acquire():
        print(sys.argv[2], flush=True)
        sys.stdin.readline()
"""


class Writers:
    """They say when it is their turn, and have it until told to go on."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._descriptor = anonymous_file("turns")
        heard, self._said = os.pipe()
        self._heard = stack.enter_context(os.fdopen(heard))
        stack.callback(os.close, self._said)
        stack.callback(os.close, self._descriptor)

    def start(self, name: str, times: int) -> subprocess.Popen[bytes]:
        started = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(self._descriptor), name, str(times)],
            stdin=subprocess.PIPE,
            stdout=self._said,
            pass_fds=[self._descriptor],
        )
        self._stack.enter_context(started)
        self._stack.callback(started.kill)
        return started

    def whose_turn(self) -> str:
        return self._heard.readline().strip()

    def somebody_is_next(self) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
        except BlockingIOError:
            return True
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, 0)
        return False


@contextmanager
def writers() -> Iterator[Writers]:
    with ExitStack() as stack:
        yield Writers(stack)


def go_on(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def test_who_has_just_written_comes_after_who_waits() -> None:
    with writers() as group:
        busy = group.start("busy", 2)
        assert group.whose_turn() == "busy"
        waiting = group.start("waiting", 1)
        wait_until(group.somebody_is_next)
        go_on(busy)
        assert group.whose_turn() == "waiting"
        go_on(waiting)
        assert group.whose_turn() == "busy"


def test_a_turn_ends_with_its_process() -> None:
    with writers() as group:
        killed = group.start("killed", 1)
        assert group.whose_turn() == "killed"
        waiting = group.start("waiting", 1)
        killed.kill()
        assert group.whose_turn() == "waiting"
        go_on(waiting)


def test_one_process_alone_needs_no_turns() -> None:
    alone = WriterLock()
    with alone.acquire(), alone.acquire():
        alone.close()
