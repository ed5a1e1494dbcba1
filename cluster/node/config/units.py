"""Sizes as people write them.

Law: a size is a whole number of bytes; `MB` is 10**6 and `MiB` is 2**20, and nothing is rounded silently.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"\s*(\d+)(?:\.(\d+))?\s*([A-Za-z]*)\s*")
_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    # Kubernetes writes Ki, Mi, Gi for the same.
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def parse_bytes(text: str) -> int:
    """`"64MiB"`, `"1.5 GiB"`, `"65536"` -> bytes. ValueError, one line, for anything else."""
    match = _SIZE.fullmatch(text)
    unit = _UNITS.get(match[3].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"expected a size such as 65536, '64MiB' or '1GB', got {text!r}")
    fraction = match[2] or ""
    scaled = int(match[1] + fraction) * unit
    parts: int = 10 ** len(fraction)
    size, rest = divmod(scaled, parts)
    if rest:
        raise ValueError(f"expected a whole number of bytes, got {text!r}")
    return size


def format_bytes(size: int) -> str:
    """The shortest exact spelling in binary units: 67108864 -> `"64MiB"`, 1000 -> `"1000"`."""
    for name, unit in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)
