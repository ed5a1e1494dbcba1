"""Shards move while everything goes wrong, and every promise holds."""

from __future__ import annotations

import pytest

from tests.simulation.moving import simulate


@pytest.mark.parametrize("seed", [2, 5])
def test_shards_on_the_move_lose_nothing_and_arrive_whatever_goes_wrong(seed: int) -> None:
    print(f"python -m tests.simulation --seeds 1 --first {seed} --seconds 6 --cast moving --verbose")
    _, moves = simulate(seed, seconds=6)
    assert moves > 4
