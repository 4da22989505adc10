"""A seccomp filter: from now on, a process may make only the listed system calls.

A filter is a program of classic BPF over `struct seccomp_data` (seccomp(2)). Threads inherit it,
and nothing can remove it. Numbers of system calls: `asm/unistd.h` of each processor.
"""

import ctypes
import errno
import os
import struct
from typing import NamedTuple

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
_WHOLE = 0xFFFFFFFF
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: F_SETOWN would send signals to others.
_FCNTL_COMMANDS = (0, 1, 2, 3, 1030)
_CONDITIONAL = {
    "clone": ((56, 220), _Condition(0, _CLONE_THREAD, (_CLONE_THREAD,))),  # threads only
    "mmap": ((9, 222), _Condition(2, _PROT_EXEC, (0,))),  # no new code
    "mprotect": ((10, 226), _Condition(2, _PROT_EXEC, (0,))),
    "fcntl": ((72, 25), _Condition(1, _WHOLE, _FCNTL_COMMANDS)),
    "prlimit64": ((302, 261), _Condition(0, _WHOLE, (0,))),  # its own limits, which only sink
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


def install() -> bool:
    """Install the filter on this process and all its future threads. Return False if that is not
    possible.

    `no_new_privs` must be set. A denied call fails with EPERM.
    """
    if os.uname().machine not in _ARCHITECTURES:
        return False
    return put_on(decoder_filter(os.uname().machine, os.getpid()))


def decoder_filter(machine: str, pid: int) -> bytes:
    """Return the program for a decoder with this process id."""
    column, architecture = _ARCHITECTURES[machine]
    own = _Condition(0, _WHOLE, (pid,))
    lines = _begin(architecture)
    for numbers in _ALLOWED.values():
        lines += _on(numbers[column], [_returning(_RET_ALLOW)])
    for numbers, condition in (*_CONDITIONAL.values(), (_TGKILL, own)):
        lines += _on(numbers[column], _allow_if(condition))
    for numbers in _NO_SUCH_CALL.values():
        lines += _on(numbers[column], [_returning(_RET_ERRNO | errno.ENOSYS)])
    return b"".join([*lines, _returning(_RET_ERRNO | errno.EPERM)])


def filter_without(numbers: tuple[int, ...]) -> bytes:
    """Return a program that denies only these calls, with ENOSYS; tests use it to simulate a kernel
    that lacks them."""
    _, architecture = _ARCHITECTURES[os.uname().machine]
    lines = _begin(architecture)
    for number in numbers:
        lines += _on(number, [_returning(_RET_ERRNO | errno.ENOSYS)])
    return b"".join([*lines, _returning(_RET_ALLOW)])


def put_on(program: bytes) -> bool:
    """Install a filter. Return False if that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    described = _Program(len(program) // 8, program)
    return bool(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(described), 0, 0) == 0)


def _begin(architecture: int) -> list[bytes]:
    """Return instructions that end a process of another ABI, whose numbers mean other calls."""
    return [
        _instruction(_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        _instruction(_JUMP_EQUAL, 1, 0, architecture),
        _returning(_RET_KILL),
        _instruction(_LOAD, 0, 0, _OFFSET_NUMBER),
        _instruction(_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        _returning(_RET_KILL),
    ]


def _on(number: int, lines: list[bytes]) -> list[bytes]:
    return [_instruction(_JUMP_EQUAL, 0, len(lines), number), *lines]


def _allow_if(condition: _Condition) -> list[bytes]:
    tests = [
        line
        for value in condition.values
        for line in (_instruction(_JUMP_EQUAL, 0, 1, value), _returning(_RET_ALLOW))
    ]
    return [
        _instruction(_LOAD, 0, 0, _OFFSET_ARGUMENTS + 8 * condition.argument),
        _instruction(_AND, 0, 0, condition.mask),
        *tests,
        _returning(_RET_ERRNO | errno.EPERM),
    ]


def _returning(value: int) -> bytes:
    return _instruction(_RETURN, 0, 0, value)


def _instruction(code: int, if_true: int, if_false: int, operand: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)
