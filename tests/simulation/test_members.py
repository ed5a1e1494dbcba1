"""Members come and go while everything goes wrong, and every promise holds."""

from __future__ import annotations

import pytest

from tests.simulation.members import MembersWorld
from tests.simulation.world import play

SECONDS, PACE = 15.0, 0.1


@pytest.mark.parametrize("seed", [120, 130])
def test_who_loses_its_disk_or_leaves_takes_nothing_with_it_and_somebody_comes_in_its_place(seed: int) -> None:
    options = f"--seeds 1 --first {seed} --seconds {SECONDS} --pace {PACE} --cast members"
    print(f"python -m tests.simulation {options} --verbose")
    _, world = play(MembersWorld, seed, seconds=SECONDS, pace=PACE)
    assert world.replaced
