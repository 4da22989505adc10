"""Standard output and standard error that end no command with a traceback.

Python's own streams fail for a character that the terminal's encoding lacks. They also fail for a
closed pipe, a full disk, and a descriptor that the shell has closed. See "Note on SIGPIPE" in
https://docs.python.org/3/library/signal.html.
"""

import io
import os
import select
import sys
from typing import Any, TextIO

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2


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
