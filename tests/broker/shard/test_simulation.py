"""A shard under a random life keeps every promise of design.md §4; see simulate.py."""

import pytest

from tests.broker.shard.seeds import run_each
from tests.broker.shard.simulate import MODULE, run

SEEDS_A_CHUNK = 25
CHUNKS = 10


@pytest.mark.parametrize("seed", [5, 42, 208, 248, 418, 588, 20312])
def test_a_seed_that_failed_once_stays_repaired(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_shard_keeps_its_promises_whatever_breaks(chunk: int) -> None:
    run_each(run, 100_000 + chunk * SEEDS_A_CHUNK, SEEDS_A_CHUNK, MODULE)


def test_one_seed_gives_one_history() -> None:
    first, second = run(7), run(7)
    assert first.log == second.log
    assert first.random.random() == second.random.random()
