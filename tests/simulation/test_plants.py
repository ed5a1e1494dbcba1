"""The simulation finds what it is there to find."""

from __future__ import annotations

import pytest

from cluster.node import core
from tests.simulation.plants import PLANTS, Planted
from tests.simulation.scheduling import patched
from tests.simulation.world import reasons, simulate

SECONDS = 10.0


@pytest.mark.parametrize("mistake", PLANTS)
def test_a_planted_mistake_is_found(mistake: str) -> None:
    planted = PLANTS[mistake]
    assert any(_finds(planted, seed) for seed in planted.seeds), f"{mistake}: not found within {planted.seeds}"


def _finds(planted: Planted, seed: int) -> bool:
    """Acks have entries of their own here: what goes wrong between two entries shows sooner."""
    with planted.plant(), patched(core, "SETTLES_HELD_MAX", 0):
        try:
            simulate(seed, seconds=SECONDS, cast=planted.cast)
        except Exception as error:
            if all(isinstance(reason, AssertionError | LookupError) for reason in reasons(error)):
                return True
            raise
    return False
