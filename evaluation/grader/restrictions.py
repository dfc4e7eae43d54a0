"""What the grader may do, and the process that tries a metric: read everything, write in a few folders, no network."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from ... import landlock, privileges


def restrict_writing(folders: Iterable[Path]) -> str:
    """Let this process write in these folders only, close the network to it, and give up root's capabilities.

    To be called while there is one thread. Reading stays allowed: a metric, its libraries and its tables may be
    anywhere. Returns what the kernel made of it, as `landlock.describe` puts it.
    """
    written = list(folders)
    for folder in written:
        folder.mkdir(parents=True, exist_ok=True)  # a right is granted for a folder that exists
    places = [*written, Path("/dev/shm"), *landlock.devices()]
    try:
        version = landlock.restrict([(place, landlock.CHANGE) for place in places], landlock.CHANGE)
        privileges.drop_capabilities()
        udp = not privileges.deny_sockets()
    except OSError as error:
        print(error, file=sys.stderr)
        version, udp = 0, True
    return landlock.describe(version, udp)
