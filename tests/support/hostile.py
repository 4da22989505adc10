"""A fork server whose children run hostile code in place of a decoder.

The original names the attack: `{"attack": name, "argument": text}`. The result of an attack is the
message of the `ImageWorkFailedError` that the renderer raises: `failed: …` or `DONE: …`.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

from image_poster.adapters.images import confinement
from image_poster.adapters.images.confinement import CREATE_RULESET
from image_poster.adapters.images.fork_server import start
from image_poster.adapters.images.protocol import (
    AcquireMemory,
    Descriptors,
    Message,
    RenderSettings,
)
from image_poster.domain.images import RenderedImage, Size

_libc = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH, _PR_SET_NO_NEW_PRIVS = 16, 38


def work(
    descriptors: Descriptors, settings: RenderSettings, acquire_memory: AcquireMemory
) -> Message:
    """Be a decoder that was taken over."""
    order = json.loads(os.pread(descriptors.original, 4096, 0))
    if order["attack"] != "begin with nothing":
        acquire_memory(settings.memory_bytes // 4)  # so that others can work beside it
    attack, argument = ATTACKS[order["attack"]], order.get("argument", "")
    try:
        done = attack(argument, descriptors)
    except (OSError, MemoryError) as exc:
        return Message(broke=f"failed: {exc!r}")
    return done if isinstance(done, Message) else Message(broke=f"DONE: {done}")


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _read(path: str, _: Descriptors) -> object:
    with Path(path).open("rb") as file:
        return file.read(100)


def _create(path: str, _: Descriptors) -> object:
    return Path(path).write_bytes(b"was here")


def _remove(path: str, _: Descriptors) -> object:
    Path(path).unlink()
    return "removed"


def _list(path: str, _: Descriptors) -> object:
    return list(Path(path).iterdir())


def _connect(address: str, _: Descriptors) -> object:
    host, _colon, port = address.rpartition(":")
    end = socket.socket()
    end.connect((host.encode(), int(port)))  # as bytes: it needs no codec to be loaded
    return "connected"


def _connect_unix(path: str, _: Descriptors) -> object:
    end = socket.socket(socket.AF_UNIX)
    end.connect(path)
    return "connected"


def _fork(_: str, __: Descriptors) -> object:
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
    return pid


def _bomb(_: str, descriptors: Descriptors) -> object:
    started = [_fork("", descriptors) for _ in range(10_000)]
    return len(started)


def _execute(path: str, _: Descriptors) -> object:
    return os.execv(path, [path])  # noqa: S606 - the attack


def _signal(pid: str, _: Descriptors) -> object:
    os.kill(int(pid), signal.SIGTERM)
    return "sent"


def _trace(pid: str, _: Descriptors) -> object:
    return _checked(_libc.ptrace(_PTRACE_ATTACH, int(pid), 0, 0))


def _trace_parent(_: str, descriptors: Descriptors) -> object:
    return _trace(str(os.getppid()), descriptors)


def _signal_parent(_: str, descriptors: Descriptors) -> object:
    return _signal(str(os.getppid()), descriptors)


def _other_descriptors(_: str, descriptors: Descriptors) -> object:
    own_descriptors = {
        0,
        1,
        2,
        descriptors.original,
        descriptors.small,
        descriptors.large,
        descriptors.answers,
    }
    return sorted(set(range(4096)) & {fd for fd in range(4096) if _is_open(fd)} - own_descriptors)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _environment(_: str, __: Descriptors) -> object:
    return sorted(os.environ)


def _write_a_gigabyte(_: str, descriptors: Descriptors) -> object:
    chunk = bytes(1 << 20)
    return sum(os.write(descriptors.large, chunk) for _ in range(1024))


def _write_the_original(_: str, descriptors: Descriptors) -> object:
    return os.write(descriptors.original, b"was here")


def _take_memory(_: str, __: Descriptors) -> object:
    blocks = [bytearray(1 << 28) for _ in range(32)]  # zeroed, so it is really there
    return sum(map(len, blocks))


def _make_code(_: str, __: Descriptors) -> object:
    _libc.mmap.restype = ctypes.c_void_p
    if _libc.mmap(0, 4096, 1 | 2 | 4, 0x22, -1, 0) == 2**64 - 1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "a page to write and execute"


def _hang(_: str, __: Descriptors) -> object:
    time.sleep(1000)
    return "slept"


def _spin(_: str, __: Descriptors) -> object:
    while True:
        pass


def _crash(number: str, _: Descriptors) -> object:
    # An abort is a signal to oneself, and the one that a confined process may send.
    _libc.abort() if number == "abort" else ctypes.string_at(0)
    return None


def _exit(code: str, _: Descriptors) -> object:
    os._exit(int(code))


def _flood(_: str, descriptors: Descriptors) -> object:
    while True:
        os.write(descriptors.answers, b"{}\n" * 1000)


def _long_line(_: str, descriptors: Descriptors) -> object:
    while True:
        os.write(descriptors.answers, b" " * 100_000)


def _nonsense(text: str, descriptors: Descriptors) -> object:
    return os.write(descriptors.answers, text.encode() + b"\n")


def _reject_late(seconds: str, _: Descriptors) -> object:
    time.sleep(float(seconds))
    return Message(rejected=("image_unreadable", "late"))


def _lie(text: str, _: Descriptors) -> object:
    side, placeholder = text.split(" ", 1)
    size = Size(int(side), int(side))
    return Message(rendered=RenderedImage(size, size, placeholder))


def _lie_about_the_reason(code: str, _: Descriptors) -> object:
    return Message(rejected=(code, "x" * 10_000))


ATTACKS: dict[str, Callable[[str, Descriptors], object]] = {
    "read": _read,
    "create": _create,
    "remove": _remove,
    "list": _list,
    "connect": _connect,
    "connect unix": _connect_unix,
    "fork": _fork,
    "bomb": _bomb,
    "execute": _execute,
    "signal": _signal,
    "signal parent": _signal_parent,
    "trace": _trace,
    "trace parent": _trace_parent,
    "other descriptors": _other_descriptors,
    "environment": _environment,
    "write a gigabyte": _write_a_gigabyte,
    "write the original": _write_the_original,
    "take memory": _take_memory,
    "make code": _make_code,
    "hang": _hang,
    "begin with nothing": _hang,
    "spin": _spin,
    "crash": _crash,
    "exit": _exit,
    "flood": _flood,
    "long line": _long_line,
    "nonsense": _nonsense,
    "reject late": _reject_late,
    "lie": _lie,
    "lie about the reason": _lie_about_the_reason,
}


def _filter_without(number: int) -> bytes:
    """A program of classic BPF (seccomp(2)) that denies one system call, with ENOSYS."""
    lines = [
        (0x20, 0, 0, 0),  # load the call's number
        (0x15, 0, 1, number),  # if it is this one
        (0x06, 0, 0, 0x00050000 | errno.ENOSYS),
        (0x06, 0, 0, 0x7FFF0000),  # else allow it
    ]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


def lack_landlock() -> None:
    """Be on a kernel without Landlock from now on."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    assert confinement.apply_filter(_filter_without(CREATE_RULESET))


def lack_seccomp() -> None:
    """Be on a kernel without seccomp, or on a processor whose calls are not known here."""
    confinement.install_filter = lambda: False


def main(*lacking: Callable[[], None]) -> None:
    """Serve as the fork server, with this work in place of the decoders."""
    for lack in lacking:
        lack()
    start(work)


if __name__ == "__main__":
    main()
