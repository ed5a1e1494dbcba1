"""Where a random test gets its seed from, and how it says which one it was."""

from __future__ import annotations

import os
import random


def chosen_seed() -> int:
    """STORE_SEED of the environment, or a new one. Prints the command that repeats the test, which pytest
    shows when it fails."""
    seed = int(os.environ.get("STORE_SEED") or random.SystemRandom().randrange(1 << 32))
    test = os.environ["PYTEST_CURRENT_TEST"].split(" ")[0]
    print(f"repeat with: STORE_SEED={seed} python -m pytest '{test}'")
    return seed
