"""Shards move while everything goes wrong, and every promise holds."""

from __future__ import annotations

import pytest

from tests.simulation.moving import MovingWorld
from tests.simulation.world import play


@pytest.mark.parametrize("seed", [2, 5])
def test_shards_on_the_move_lose_nothing_and_arrive_whatever_goes_wrong(seed: int) -> None:
    print(f"python -m tests.simulation --seeds 1 --first {seed} --seconds 6 --cast moving --verbose")
    _, world = play(MovingWorld, seed, seconds=6)
    assert world.moves > 4
