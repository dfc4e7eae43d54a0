"""The limits of this process's control group: CPUs and memory of a container or a service, in versions 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60  # bytes; version 1 writes the largest page-aligned integer where there is no limit


def cpu_limit(root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that the group and the groups around it may use at most; None without a limit.

    `root` is where the kernel shows the groups, `process` the file that names this process's group.
    """
    limits = [
        quota / period
        for folder in _groups(root, process, "cpu")
        for quota, period in (
            _numbers(folder / "cpu.max"),
            _numbers(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"),
        )
        if quota is not None and period and quota > 0
    ]
    return min(limits, default=None)


def memory_limit(
    root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")
) -> int | None:
    """Bytes of memory that the group and the groups around it may use at most; None without a limit."""
    limits = [
        limit
        for folder in _groups(root, process, "memory")
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes")
        if (limit := _numbers(folder / name)[0]) is not None and 0 < limit < _UNLIMITED
    ]
    return min(limits, default=None)


def _groups(root: Path, process: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's group and of the groups around it.

    A container without a namespace of its own names a group of the machine, but sees its own at `root`.
    """
    for line in _text(process).splitlines() or ["0::/"]:
        _, names, path = (*line.split(":", 2), "", "")[:3]
        if names and controller not in names.split(","):
            continue
        mounts = [root / names, root / controller] if names else [root]
        for mount in dict.fromkeys(mounts):
            group = mount / path.strip("/")
            yield from (place for place in (group, *group.parents) if place.is_relative_to(mount))


def _numbers(*files: Path) -> tuple[int | None, int | None]:
    """The first two numbers in these files; None for 'max' and for what is missing."""
    words = [*" ".join(map(_text, files)).split(), "", ""][:2]
    first, second = (int(word) if word.lstrip("-").isdecimal() else None for word in words)
    return first, second


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
