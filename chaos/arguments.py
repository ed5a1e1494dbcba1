"""What is given on a command line.

Law: what makes no sense is refused before anything begins.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path


def positive(text: str) -> float:
    """A finite number above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def checkout(text: str) -> Path:
    """The absolute path of a version of this project."""
    path = Path(text).absolute()
    if not (path / "cluster").is_dir():
        raise argparse.ArgumentTypeError(f"{path} is no checkout of this project")
    return path
