"""Random histories, seed after seed, by command line and by pytest.

Law: of a seed that fails, the command that repeats it is said.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


def run_each(run: Callable[[int], object], first: int, count: int, module: str) -> None:
    """`module` is started with SEED [COUNT]."""
    for seed in range(first, first + count):
        try:
            run(seed)
        except BaseException:
            print(f"seed {seed} fails: python -m {module} {seed}")
            raise


def main(run: Callable[[int], object], module: str) -> None:
    """SEED [COUNT] of the command line."""
    run_each(run, int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1, module)
