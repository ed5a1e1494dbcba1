"""Small file systems for the nodes' data, that can be filled to the last byte.

Law: each is an image in the run's directory, mounted in the run's own mount namespace, and gone with it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from chaos.machine.isolation import run

SIZE_BYTES = 768 << 20
_BALLAST = "ballast"


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
        """Take all space but this."""
        free = shutil.disk_usage(self.directory).free
        with (self.directory / _BALLAST).open("ab") as file:
            if free > leave_bytes:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, free - leave_bytes)

    def relieve(self) -> None:
        (self.directory / _BALLAST).unlink(missing_ok=True)

    def unmount(self) -> None:
        run("umount", "--lazy", str(self.directory))
