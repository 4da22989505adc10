"""Confine this process to its open descriptors, for good.

Each measure is in force if the kernel supports it; `doctor` and a metric show which are. No measure
needs a privilege.
"""

import ctypes
import os
import resource
import struct
from pathlib import Path

import msgspec

from image_poster.adapters.images import seccomp

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38

# linux/landlock.h; the same numbers on every processor.
CREATE_RULESET, _RESTRICT_SELF = 444, 446
_CREATE_RULESET_VERSION = 1
# The rights that each version of Landlock's ABI knows; one that it does not know is refused.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_MAX_FILE_ABI = 5
_TCP_ABI, _TCP_RIGHTS = 4, 0b11
_SCOPE_ABI, _SCOPES = 6, 0b11  # abstract sockets and signals of other processes

_MAX_WRITTEN_BYTES = 32_000_000  # a rendition of noise has 5 MB
_MAX_FILES = 32
_MORE_TASKS = 64


class Confinement(msgspec.Struct, frozen=True):
    """The measures in force; `landlock` is the version of its ABI, 0 for none."""

    no_new_privs: bool
    landlock: int
    seccomp: bool

    @property
    def measures(self) -> dict[str, bool]:
        """Return, for each measure that a kernel may lack, True if it is in force."""
        return {
            "no_new_privs": self.no_new_privs,
            "Landlock": self.landlock > 0,
            "seccomp": self.seccomp,
        }

    def __str__(self) -> str:
        there = [name for name, found in self.measures.items() if found]
        lacking = [name for name, found in self.measures.items() if not found]
        text = ", ".join(["in force: an empty environment", "resource limits", *there])
        if self.landlock:
            text = text.replace("Landlock", f"Landlock (ABI {self.landlock})")
        return f"{text}; this kernel lacks {', '.join(lacking)}" if lacking else text

    @property
    def is_complete(self) -> bool:
        """Return True if a compromised decoder reaches nothing. The filter of system calls denies
        all that Landlock denies; Landlock is a second barrier behind it."""
        return self.no_new_privs and self.seccomp


def hide_from_others() -> None:
    """Hide this process's environment and memory in /proc from other processes, also of the same
    user (PR_SET_DUMPABLE in prctl(2)). Root can still read them."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def end_with_parent(parent: int) -> None:
    """Make the kernel end this process when `parent` ends for any reason (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def confine(cpu_seconds: int, address_bytes: int) -> Confinement:
    """Give up files, network, other processes and new code. Limit this process to `cpu_seconds` of
    processor time and `address_bytes` of address space."""
    _set_limits(cpu_seconds)
    bound_address_space(address_bytes)
    hide_from_others()
    no_new_privs = _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    landlock = _restrict_by_landlock()
    return Confinement(no_new_privs, landlock, seccomp.install())


def bound_address_space(address_bytes: int) -> None:
    """Limit the address space, in bytes; a later call can only lower the limit."""
    _lower(resource.RLIMIT_AS, address_bytes)


def mapped_bytes() -> int:
    """The size of this process's address space (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _set_limits(cpu_seconds: int) -> None:
    for name, limit in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, _MAX_WRITTEN_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, _tasks_now() + _MORE_TASKS),
    ):
        _lower(name, limit)


def _lower(name: int, limit: int) -> None:
    _, hard = resource.getrlimit(name)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(name, (limit, limit))


def _tasks_now() -> int:
    """Return the number of tasks of the whole machine (proc(5), loadavg). No user has more, so a
    limit above it allows our threads and prevents a fork bomb."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def _restrict_by_landlock() -> int:
    """Deny every right over files, TCP, and other processes' sockets and signals. Return the
    version of Landlock's ABI, or 0 if it is not in force."""
    abi = _libc.syscall(CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    if abi < 1:
        return 0
    rights = (1 << _FILE_RIGHTS[min(abi, _MAX_FILE_ABI)]) - 1
    tcp = _TCP_RIGHTS if abi >= _TCP_ABI else 0
    scopes = _SCOPES if abi >= _SCOPE_ABI else 0
    # A field that is not known to the kernel may be there as long as it is zero.
    attributes = struct.pack("<QQQ", rights, tcp, scopes)
    ruleset = _libc.syscall(CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return 0
    try:
        return int(abi) if _libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0 else 0
    finally:
        os.close(ruleset)
