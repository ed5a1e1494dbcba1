"""Which faults strike when."""

from __future__ import annotations

import random

from chaos.strikes.catalogue import FAULTS, NODES, Deck


def test_every_fault_comes_once_before_any_comes_again_and_two_together_leave_each_its_nodes() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    deck = Deck(tuple(FAULTS), random.Random(seed))
    for _ in range(20):
        drawn = [deck.draw() for _ in FAULTS]
        assert sorted(names[0] for names in drawn) == sorted(FAULTS)
        for names in drawn:
            assert len(set(names)) == len(names)
            assert len(names) == 1 or sum(FAULTS[name].nodes_needed for name in names) <= NODES
