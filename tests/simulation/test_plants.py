"""The simulation finds what it is there to find."""

from __future__ import annotations

import pytest

from tests.simulation.plants import PLANTS, Planted
from tests.simulation.world import reasons, simulate


@pytest.mark.parametrize("mistake", PLANTS)
def test_a_planted_mistake_is_found(mistake: str) -> None:
    planted = PLANTS[mistake]
    assert any(_finds(planted, seed) for seed in planted.seeds), f"{mistake}: not found within {planted.seeds}"


def _finds(planted: Planted, seed: int) -> bool:
    with planted.put_in():
        try:
            simulate(seed, seconds=planted.seconds, cast=planted.cast, kinds=planted.kinds)
        except Exception as error:
            if all(isinstance(reason, AssertionError | LookupError) for reason in reasons(error)):
                return True
            raise
    return False
