"""A process permanently gives up Linux capabilities, and all sockets except TCP, Unix and netlink sockets.

`compute_only` leaves a process nothing but memory, time and its open files. The others complete `landlock`, to be
called after `landlock.restrict`, while there is one thread. Landlock keeps a process from reading another one's memory
and environment, except if it has the capability CAP_PERFMON or CAP_SYS_ADMIN, which root has (`may_access_mm` in the
kernel's kernel/fork.c). Landlock restricts TCP, and no other protocol.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_DAC_OVERRIDE = 1 << 1
_MOST_CAPABILITIES = 64
_BOUNDING_SET_DROP = 24  # of prctl

# Classic BPF: load a word of `struct seccomp_data`, compare with a constant, mask, return.
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND, _THIRD = 0, 4, 16, 24, 32  # offsets; all are little-endian
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | 13  # EACCES
_X32 = 0x40000000  # a second set of system calls on x86-64
_IO_URING_SETUP = 425  # an io_uring makes sockets without the system call `socket`
# AUDIT_ARCH_*, and the numbers of the system calls `socket` and `seccomp`.
_PROCESSORS = {"x86_64": (0xC000003E, 41, 317), "aarch64": (0xC00000B7, 198, 277)}
# read, write, close, fstat, poll (arm64: ppoll), lseek, mmap, mprotect, munmap, brk, rt_sigaction, rt_sigprocmask,
# rt_sigreturn, readv, writev, sched_yield, mremap, madvise, nanosleep, getpid, exit, gettimeofday, getrusage, times,
# sigaltstack, gettid, futex, sched_getaffinity, restart_syscall, clock_gettime, clock_nanosleep, exit_group, getrandom,
# rseq. x86-64 also has time.
_COMPUTING = {
    "x86_64": (0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 24, 25, 28, 35, 39, 60, 96, 98, 100, 131, 186,
               202, 204, 219, 228, 230, 231, 318, 334, 201),
    "aarch64": (63, 64, 57, 80, 73, 62, 222, 226, 215, 214, 134, 135, 139, 65, 66, 124, 216, 233, 101, 172, 93, 169,
                165, 153, 132, 178, 98, 123, 128, 113, 115, 94, 278, 293),
}  # fmt: skip
_NOT_PERMITTED = 0x00050000 | 1  # EPERM
_NO_NEW_PRIVILEGES = 38  # of prctl
_SET_MODE_FILTER, _FULL_SPEED = (
    1,
    1 << 2,
)  # SECCOMP_FILTER_FLAG_SPEC_ALLOW: else kernels before 5.16 slow it down
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_TYPE, _STREAM = 0xF, 1
_TCP = 6


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("if_true", ctypes.c_uint8), ("if_false", ctypes.c_uint8),
                ("value", ctypes.c_uint32))  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def drop_capabilities() -> None:
    """Give up all capabilities except CAP_DAC_OVERRIDE, if held, for this thread and what it starts.

    With it, root still opens the files of other users that Landlock grants, such as a base model in another home. It
    does not open `/proc/<pid>/environ`. Raises OSError if the kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = _libc()
    for capability in range(
        _MOST_CAPABILITIES
    ):  # fails without CAP_SETPCAP, and then there is nothing to lose
        if 1 << capability != _DAC_OVERRIDE:
            libc.prctl(_BOUNDING_SET_DROP, ctypes.c_ulong(capability), *[ctypes.c_ulong(0)] * 3)
    header, sets = _CapabilityHeader(_LINUX_CAPABILITY_VERSION_3, 0), (_CapabilitySets * 2)()
    _done(libc.capget(ctypes.byref(header), sets))
    kept = sets[0].permitted & _DAC_OVERRIDE
    sets[0], sets[1] = _CapabilitySets(kept, kept, 0), _CapabilitySets(0, 0, 0)
    _done(libc.capset(ctypes.byref(header), sets))


def deny_sockets() -> bool:
    """Deny new sockets other than TCP, Unix and netlink ones, and io_uring, for this thread and what it starts.

    Denied are UDP, raw and packet sockets, and variants of TCP that Landlock does not see (MPTCP, SCTP). Returns False
    if the kernel has no seccomp filters or the processor is unknown here; nothing is denied then.
    """
    if sys.platform != "linux" or platform.machine() not in _PROCESSORS:
        return False
    architecture, socket, _ = _PROCESSORS[platform.machine()]
    return _install(_filter(architecture, socket))


def compute_only() -> bool:
    """Deny every system call but those for memory, time, waiting, and reading and writing open files.

    No file can be opened, no process or thread started, no socket made, no signal sent. For good, for this thread and
    what it starts. Returns False, with nothing denied, where `deny_sockets` would.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _COMPUTING:
        return False
    if _libc().prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3):
        return False
    calls = _COMPUTING[machine]
    deny = len(calls) + 3  # the line; the one after it allows. A jump counts the lines that it skips
    program = [
        _Instruction(_LOAD, 0, 0, _ARCHITECTURE),
        _Instruction(_EQUAL, 0, deny - 2, _PROCESSORS[machine][0]),
        _Instruction(_LOAD, 0, 0, _NUMBER),
        *(_Instruction(_EQUAL, deny - line, 0, number) for line, number in enumerate(calls, start=3)),
        _Instruction(_RETURN, 0, 0, _NOT_PERMITTED),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    ]
    return _install(program)


def _install(program: list[_Instruction]) -> bool:
    array = (_Instruction * len(program))(*program)
    given = _Program(len(program), array)
    mode, flags = ctypes.c_uint(_SET_MODE_FILTER), ctypes.c_uint(_FULL_SPEED)
    seccomp = _PROCESSORS[platform.machine()][2]
    return bool(_libc().syscall(ctypes.c_long(seccomp), mode, flags, ctypes.byref(given)) == 0)


def _filter(architecture: int, socket: int) -> list[_Instruction]:
    """The filter. A jump counts the instructions that it skips; the last two are 'allow' and 'deny'."""
    lines: list[tuple[int, int, str, str]] = [
        (_LOAD, _ARCHITECTURE, "", ""),
        (_EQUAL, architecture, "", "deny"),
        (_LOAD, _NUMBER, "", ""),
        (_AT_LEAST, _X32, "deny", ""),
        (_EQUAL, _IO_URING_SETUP, "deny", ""),
        (_EQUAL, socket, "", "allow"),
        (_LOAD, _FIRST, "", ""),
        (_EQUAL, _UNIX, "allow", ""),
        (_EQUAL, _NETLINK, "allow", ""),
        (_EQUAL, _INET, "type", ""),
        (_EQUAL, _INET6, "", "deny"),
        (_LOAD, _SECOND, "", ""),
        (_AND, _TYPE, "", ""),
        (_EQUAL, _STREAM, "", "deny"),
        (_LOAD, _THIRD, "", ""),
        (_EQUAL, 0, "allow", ""),
        (_EQUAL, _TCP, "allow", "deny"),
        (_RETURN, _ALLOW, "", ""),
        (_RETURN, _DENY, "", ""),
    ]
    places = {"type": lines.index((_LOAD, _SECOND, "", "")), "allow": len(lines) - 2, "deny": len(lines) - 1}

    def jump(target: str, line: int) -> int:
        return places[target] - line - 1 if target else 0

    return [
        _Instruction(code, jump(if_true, line), jump(if_false, line), value)
        for line, (code, value, if_true, if_false) in enumerate(lines)
    ]


def _done(status: int) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
