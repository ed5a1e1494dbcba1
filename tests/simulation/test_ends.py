"""No copy of the catalog is taken for the latest that is not, whichever ends of links break and when."""

from __future__ import annotations

import pytest

from tests.simulation import scheduling
from tests.simulation.agenda import Agenda
from tests.simulation.ends import Ends

SECONDS = 20.0
SEEDS = 20


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_copy_that_is_fresh_has_every_change_that_was_answered(seed: int) -> None:
    print(f"python -m pytest '{__file__}' -k 'answered[{seed}]'")

    async def main(agenda: Agenda) -> Ends:
        ends = Ends(seed, agenda)
        await ends.run(SECONDS)
        return ends

    ends: Ends = scheduling.run(main, seed)
    assert ends.answered
    assert ends.fresh
