"""Confine this process to its open descriptors, for good.

Each measure is in force if the kernel supports it; `doctor` and a metric show which are. No measure
needs a privilege.
"""

import ctypes
import errno
import os
import resource
import struct
from pathlib import Path
from typing import NamedTuple

import msgspec

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
        present = [name for name, is_present in self.measures.items() if is_present]
        lacking = [name for name, is_present in self.measures.items() if not is_present]
        text = ", ".join(["in force: an empty environment", "resource limits", *present])
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
    # Tasks of the whole machine (proc(5), loadavg). No user has more, so a limit above it allows
    # our threads and prevents a fork bomb.
    tasks = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    for name, limit in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, _MAX_WRITTEN_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, tasks + _MORE_TASKS),
        (resource.RLIMIT_AS, address_bytes),
    ):
        _lower(name, limit)
    hide_from_others()
    no_new_privs = _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    landlock = _restrict_by_landlock()
    return Confinement(no_new_privs, landlock, install_filter())


def limit_address_space(address_bytes: int) -> None:
    """Limit the address space, in bytes; a later call can only lower the limit."""
    _lower(resource.RLIMIT_AS, address_bytes)


def address_space_bytes() -> int:
    """Return the size of this process's address space (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _lower(name: int, limit: int) -> None:
    _, hard = resource.getrlimit(name)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(name, (limit, limit))


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


# --- The filter of system calls: afterwards, a process may make only the listed ones ---
#
# A program of classic BPF over `struct seccomp_data` (seccomp(2)). Threads inherit it, and nothing
# can remove it. Numbers of system calls: `asm/unistd.h` of each processor.

# What decoding from open descriptors takes: memory, threads, clocks, reading and writing, ending.
# Of each its number on x86_64, and that on aarch64.
_ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "readv": (19, 65),
    "writev": (20, 66),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "dup": (32, 23),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "set_tid_address": (218, 96),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "set_robust_list": (273, 99),
    "getrandom": (318, 278),
    "membarrier": (324, 283),
    "rseq": (334, 293),
}


class _Condition(NamedTuple):
    """Allow a call only if `argument & mask` is one of `values`."""

    argument: int
    mask: int
    values: tuple[int, ...]


_CLONE_THREAD = 0x00010000
_PROT_EXEC = 4
_ALL_BITS = 0xFFFFFFFF
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: F_SETOWN would send signals to others.
_FCNTL_COMMANDS = (0, 1, 2, 3, 1030)
_CONDITIONAL = {
    "clone": ((56, 220), _Condition(0, _CLONE_THREAD, (_CLONE_THREAD,))),  # threads only
    "mmap": ((9, 222), _Condition(2, _PROT_EXEC, (0,))),  # no new code
    "mprotect": ((10, 226), _Condition(2, _PROT_EXEC, (0,))),
    "fcntl": ((72, 25), _Condition(1, _ALL_BITS, _FCNTL_COMMANDS)),
    "prlimit64": ((302, 261), _Condition(0, _ALL_BITS, (0,))),  # its own limits, which only sink
}
# `abort` signals its own thread, and none of another process.
_TGKILL = (234, 131)
# glibc then takes `clone`, whose flags a filter can see.
_NO_SUCH_CALL = {"clone3": (435, 435)}

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32_BIT = 0x40000000  # the other ABI of x86_64, with numbers of its own

# linux/bpf_common.h, linux/seccomp.h
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_RET_KILL, _RET_ERRNO, _RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def install_filter() -> bool:
    """Install the filter on this process and all its future threads. Return False if that is not
    possible.

    `no_new_privs` must be set. A denied call fails with EPERM.
    """
    machine = os.uname().machine
    return machine in _ARCHITECTURES and apply_filter(_decoder_filter(machine, os.getpid()))


def apply_filter(program: bytes) -> bool:
    """Install a filter program. Return False if that is not possible."""
    filter_program = _Program(len(program) // 8, program)
    return bool(_libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_program), 0, 0) == 0)


def _decoder_filter(machine: str, pid: int) -> bytes:
    """Return the program for a decoder with this process id."""
    column, architecture = _ARCHITECTURES[machine]
    own = _Condition(0, _ALL_BITS, (pid,))
    lines = [
        # End a process of another ABI, whose numbers mean other calls.
        _instruction(_LOAD, _OFFSET_ARCHITECTURE),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _return(_RET_KILL),
        _instruction(_LOAD, _OFFSET_NUMBER),
        _instruction(_JUMP_AT_LEAST, _X32_BIT, 0, 1),
        _return(_RET_KILL),
    ]
    for numbers in _ALLOWED.values():
        lines += _on_call(numbers[column], [_return(_RET_ALLOW)])
    for numbers, condition in (*_CONDITIONAL.values(), (_TGKILL, own)):
        lines += _on_call(numbers[column], _allow_if(condition))
    for numbers in _NO_SUCH_CALL.values():
        lines += _on_call(numbers[column], [_return(_RET_ERRNO | errno.ENOSYS)])
    return b"".join([*lines, _return(_RET_ERRNO | errno.EPERM)])


def _on_call(number: int, lines: list[bytes]) -> list[bytes]:
    return [_instruction(_JUMP_EQUAL, number, 0, len(lines)), *lines]


def _allow_if(condition: _Condition) -> list[bytes]:
    tests = [
        line
        for value in condition.values
        for line in (_instruction(_JUMP_EQUAL, value, 0, 1), _return(_RET_ALLOW))
    ]
    return [
        _instruction(_LOAD, _OFFSET_ARGUMENTS + 8 * condition.argument),
        _instruction(_AND, condition.mask),
        *tests,
        _return(_RET_ERRNO | errno.EPERM),
    ]


def _return(value: int) -> bytes:
    return _instruction(_RETURN, value)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)
