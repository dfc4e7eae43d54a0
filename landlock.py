"""Landlock: a process permanently gives up rights to files, network and other processes, without being root.

Raw system calls (https://docs.kernel.org/userspace-api/landlock.html), because no library in our dependencies
has them. Linux 5.13 has ABI 1; later versions add rights. Rights that the kernel does not know are not requested.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

NOT_CONFINED = "not confined"

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # flag of landlock_create_ruleset: return the ABI
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38  # of prctl

# LANDLOCK_ACCESS_FS_*
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_AND_REMOVE = 0x1FF0  # bits 4 to 12: remove and make files, folders, links, sockets, pipes, devices
_MAKE_DEVICES = 1 << 6 | 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_ADDED = {2: _REFER, 3: _TRUNCATE, 5: _IOCTL_DEVICE}

READ = READ_FILE | READ_DIR
RUN = READ | EXECUTE
WRITE = WRITE_FILE | _TRUNCATE | _REFER | _MAKE_AND_REMOVE & ~_MAKE_DEVICES
CHANGE = WRITE | _MAKE_DEVICES
DEVICE = READ_FILE | WRITE_FILE | _IOCTL_DEVICE
EVERYTHING = RUN | WRITE | _MAKE_DEVICES | _IOCTL_DEVICE

_BIND_AND_CONNECT_TCP = 3  # ABI 4
_SOCKETS_AND_SIGNALS = 3  # ABI 6: abstract sockets of, and signals to, processes outside

# Never all of /dev: a disk device gives access to all files.
_DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "nvidia-caps/*", "dri/*", "kfd")


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # the meaning of `_pack_`; Python 3.14 requires it
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """The kernel's version of Landlock, 0 if it is missing or switched off."""
    if sys.platform != "linux":
        return 0
    try:
        return max(0, _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)))
    except OSError:
        return 0


def describe(version: int, udp: bool = False) -> str:
    """The text for reports; `udp`: sockets that Landlock does not restrict could not be denied."""
    return f"Landlock ABI {version}{', UDP open' * udp}" if version else NOT_CONFINED


def weakest(described: Iterable[str]) -> str:
    """Of texts by `describe` the one that promises least; 'not confined' for none."""

    def strength(text: str) -> tuple[bool, int]:
        return "UDP open" not in text, int(re.sub(r"\D", "", text) or 0)

    found = set(described)
    return NOT_CONFINED if not found or NOT_CONFINED in found else min(found, key=strength)


def devices() -> list[Path]:
    """The devices that training needs: null, zero, random and GPUs."""
    return sorted(path for pattern in _DEVICES for path in Path("/dev").glob(pattern))


def restrict(grants: Iterable[tuple[Path, int]], handled: int = EVERYTHING) -> int:
    """Give up all `handled` rights except those granted on a file or below a folder. Returns the ABI, 0: no effect.

    It applies to this thread and all threads and processes that it starts later, so call it before there are other
    threads. TCP (ABI 4) and signals to other processes (ABI 6) are blocked too. Open files stay open. Missing paths
    are skipped. Raises OSError if the kernel has Landlock and refuses.
    """
    version = abi()
    if not version:
        return 0
    known = EVERYTHING & ~sum(right for since, right in _ADDED.items() if version < since)
    handled &= known
    rules = _Ruleset(
        handled, _BIND_AND_CONNECT_TCP if version >= 4 else 0, _SOCKETS_AND_SIGNALS if version >= 6 else 0
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path, rights in grants:
            _allow(ruleset, path, rights & handled)
        if _libc().prctl(_NO_NEW_PRIVILEGES, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3):
            raise _error()
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def with_targets(folder: Path) -> Iterator[Path]:
    """A folder and the targets of the links in it: a snapshot of a hub is a folder of links."""
    yield folder
    if folder.is_dir():
        yield from (path.resolve() for path in sorted(folder.iterdir()) if path.is_symlink())


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        if rights:
            rule = _PathBeneath(rights, handle)
            _call(
                _ADD_RULE,
                ctypes.c_int(ruleset),
                ctypes.c_int(_PATH_BENEATH),
                ctypes.byref(rule),
                ctypes.c_uint32(0),
            )
    finally:
        os.close(handle)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise _error()
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"Landlock: {os.strerror(number)}")
