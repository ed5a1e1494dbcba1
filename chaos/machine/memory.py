"""A memory limit for one node, by a control group of its own (v2 or v1).

Law: the group is empty when it is removed; it is removed when the run ends. What a run that was killed left behind is
removed by the next one.
"""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def _parent() -> tuple[Path, str, str] | None:
    """(directory to make groups in, name of the limit's file, what means no limit)."""
    if (_ROOT / "memory" / "memory.limit_in_bytes").exists():
        return _ROOT / "memory", "memory.limit_in_bytes", "-1"
    controllers = _ROOT / "cgroup.subtree_control"
    if controllers.exists() and "memory" in controllers.read_text().split():
        return _ROOT, "memory.max", "max"
    return None


def missing_for_memory() -> str:
    """Why memory cannot be limited here; empty when it can."""
    parent = _parent()
    if parent is None:
        return "no memory controller"
    return "" if os.access(parent[0], os.W_OK) else "control groups are read-only"


class MemoryGroup:
    """Of one process at a time."""

    def __init__(self, name: str) -> None:
        parent = _parent()
        assert parent is not None
        base, self._file, self._unlimited = parent
        self._directory = base / f"chaos-{os.getpid()}-{name}"
        self._base = base
        for left in base.glob("chaos-*"):
            if not Path("/proc", left.name.split("-")[1]).exists():
                left.rmdir()
        self._directory.mkdir(exist_ok=True)

    def limit(self, pid: int, size: int) -> None:
        """From now on the process may have `size` bytes, file pages included. OSError when it cannot be."""
        (self._directory / "cgroup.procs").write_text(str(pid))
        (self._directory / self._file).write_text(str(size))

    def release(self) -> None:
        """No limit any more; the process stays where it is, or has ended."""
        (self._directory / self._file).write_text(self._unlimited)

    def remove(self) -> None:
        """OSError when something lives in it still."""
        for pid in (self._directory / "cgroup.procs").read_text().split():
            (self._base / "cgroup.procs").write_text(pid)
        self._directory.rmdir()
