"""Run a command under the filter of system calls, and the ban on writable code, of a systemd unit.
systemd does the same before it starts the command. `python system_calls.py UNIT COMMAND…`.

Groups of calls come from this machine's systemd (systemd-analyze syscall-filter). The filter is
libseccomp's, which systemd uses too.
"""

import ctypes
import ctypes.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

_ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
_EPERM = 0x00050001  # SECCOMP_RET_ERRNO of 1
_NO_NEW_PRIVS, _SET_MDWE, _REFUSE_EXEC_GAIN = 38, 65, 1  # prctl(2)


def settings(unit: Path, name: str) -> list[str]:
    """The values of a setting of the unit, in their order."""
    lines = unit.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


@cache
def calls(entry: str) -> frozenset[str]:
    """The names of the calls in a group, and of those in the groups in it; or the call itself."""
    if not entry.startswith("@"):
        return frozenset([entry])
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", entry], capture_output=True, text=True, check=True
    ).stdout
    lines = [line.strip() for line in listed.splitlines()[1:]]
    names = [line for line in lines if line and not line.startswith("#")]
    return frozenset().union(*map(calls, names))


def allowed(unit: Path) -> set[str]:
    """The calls that the unit's filter allows (systemd.exec(5), SystemCallFilter). The first line
    makes it a list of allowed calls; `~` removes calls from it."""
    names = set(calls("@default"))  # always allowed, it says
    for value in settings(unit, "SystemCallFilter"):
        for entry in value.removeprefix("~").split():
            if value.startswith("~"):
                names -= calls(entry)
            else:
                names |= calls(entry)
    return names


def confine(unit: Path) -> None:
    """Confine the calling process, and what it starts. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if settings(unit, "MemoryDenyWriteExecute") == ["true"]:
        libc.prctl(_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0)  # Linux 6.3; older ones lack it
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_EPERM)))
    for name in allowed(unit):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # else it is of another architecture
            seccomp.seccomp_rule_add(filter_, ctypes.c_uint32(_ALLOW), number, 0)
    if loaded := seccomp.seccomp_load(filter_):
        raise OSError(-loaded, "seccomp_load")


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - as systemd does
