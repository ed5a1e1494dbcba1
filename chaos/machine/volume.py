"""Small file systems for the nodes' data, that can be filled to the last byte.

Law: each is an image in the run's directory, mounted in the run's own mount namespace, and gone with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from chaos.machine.isolation import run

SIZE_BYTES = 1536 << 20
_BALLAST = "ballast"
_BLOCK_BYTES = 4096
_FILL_TRIES = 20


def missing_for_volumes() -> str:
    """Why file systems cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "not root"
    if shutil.which("mkfs.ext4") is None:
        return "not installed: mkfs.ext4 (Debian: e2fsprogs)"
    return "" if Path("/dev/loop-control").exists() else "no loop devices"


class Volume:
    """`directory` becomes a file system of `SIZE_BYTES`."""

    def __init__(self, directory: Path, image: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            file.truncate(SIZE_BYTES)
        run("mkfs.ext4", "-q", "-m", "0", str(image))
        run("mount", "-o", "loop", str(image), str(directory))

    def fill(self, leave_bytes: int) -> None:
        """Take all space but this, from under a node that writes at the same time."""
        with (self.directory / _BALLAST).open("ab") as file:
            for _ in range(_FILL_TRIES):
                taken = shutil.disk_usage(self.directory).free - leave_bytes
                if taken < _BLOCK_BYTES:
                    return
                with contextlib.suppress(OSError):  # the node was quicker: there is less by now
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, taken)

    def relieve(self) -> None:
        (self.directory / _BALLAST).unlink(missing_ok=True)

    def unmount(self) -> None:
        run("umount", "--lazy", str(self.directory))
