"""Run a command in which the kernel refuses hard links, as exFAT does: `python without_links.py
COMMAND…`. The error is that of link(2), EPERM: "The filesystem … does not support the creation of
hard links"."""

import ctypes
import os
import sys

_ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
_EPERM = 0x00050001  # SECCOMP_RET_ERRNO of 1
_NO_NEW_PRIVS = 38  # prctl(2)


def refuse_links() -> None:
    """Refuse hard links to the calling process, and to what it starts. Raises `OSError`."""
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ALLOW)))
    for name in (b"link", b"linkat"):
        number = seccomp.seccomp_syscall_resolve_name(name)
        if number >= 0:  # else it is of another architecture
            seccomp.seccomp_rule_add(filter_, ctypes.c_uint32(_EPERM), number, 0)
    if loaded := seccomp.seccomp_load(filter_):
        raise OSError(-loaded, "seccomp_load")


if __name__ == "__main__":
    refuse_links()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - the command itself
