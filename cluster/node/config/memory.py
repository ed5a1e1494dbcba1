"""How much memory this process may use.

Law: the smallest of the limits that bind it: the cgroup's (v2, then v1) and the machine's.
"""

from __future__ import annotations

import os
from pathlib import Path

_CGROUP_FILES = ("memory.max", "memory/memory.limit_in_bytes")


def available_memory(cgroup_root: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes. A cgroup file that is missing, unreadable or says `max` does not bind."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _CGROUP_FILES:
        try:
            text = (cgroup_root / name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits)
