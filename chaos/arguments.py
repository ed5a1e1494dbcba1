"""Numbers on a command line.

Law: what makes no sense is refused before anything begins.
"""

from __future__ import annotations

import math


def positive(text: str) -> float:
    """A finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value
