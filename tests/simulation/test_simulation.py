"""A few whole clusters under faults, and that a seed is one history."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.casts import CASTS, Cast
from tests.simulation.chronicle import CLAIMS
from tests.simulation.world import simulate

SECONDS = 5.0
CALM_SEEDS, CALM_SECONDS, CALM_PACE = 12, 40.0, 0.04
CALM_CASTS = [cast for cast in CASTS if cast not in ("full", "routes")]
"""A queue that few publish to is not full, and who seldom asks seldom does without."""
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("seed", [1, 3, 6])
def test_a_cluster_keeps_its_promises_whatever_goes_wrong(seed: int) -> None:
    print(f"python -m tests.simulation --seeds 1 --first {seed} --seconds {SECONDS} --cast common --verbose")
    history = simulate(seed, seconds=SECONDS)
    assert history.tally.confirmed > 0
    assert history.tally.delivered >= history.tally.confirmed


@pytest.mark.parametrize("seed", [5, 6])
def test_what_is_promised_of_queues_with_traits_holds(seed: int) -> None:
    print(f"python -m tests.simulation --seeds 1 --first {seed} --seconds {SECONDS} --cast traits --verbose")
    history = simulate(seed, seconds=SECONDS, cast="traits")
    unchecked = [claim for claim in CLAIMS if not history.checks[claim]]
    assert not unchecked, f"never looked at: {unchecked}"


@pytest.mark.parametrize("seed", range(4))
def test_what_a_full_queue_refuses_is_nowhere_whoever_leads(seed: int) -> None:
    """Batches wait for each other, receipts are lost: who leads next says the same of a batch that comes again."""
    kinds = ("crash", "slow_disk", "reset", "move_leader")
    options = f"--seeds 1 --first {seed} --seconds 8 --pace 2 --cast full --faults {','.join(kinds)}"
    print(f"python -m tests.simulation {options} --verbose")
    assert simulate(seed, seconds=8.0, cast="full", pace=2.0, kinds=kinds).checks["refused by a full queue"]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_bound_is_routed_whichever_end_of_a_link_breaks_first(seed: int) -> None:
    kinds = ("part", "slow_link")
    options = f"--seeds 1 --first {seed} --seconds 25 --cast routes --faults {','.join(kinds)}"
    print(f"python -m tests.simulation {options} --verbose")
    assert simulate(seed, seconds=25.0, cast="routes", kinds=kinds).checks["routed once bound"]


@pytest.mark.parametrize("cast", CALM_CASTS)
@pytest.mark.parametrize("seed", range(CALM_SEEDS))
def test_a_cluster_with_few_clients_keeps_its_promises_whatever_goes_wrong(seed: int, cast: Cast) -> None:
    """As many faults a second as with many clients."""
    options = f"--seeds 1 --first {seed} --seconds {CALM_SECONDS} --pace {CALM_PACE} --cast {cast}"
    print(f"python -m tests.simulation {options} --verbose")
    simulate(seed, seconds=CALM_SECONDS, cast=cast, pace=CALM_PACE)


@pytest.mark.parametrize(
    ("cast", "seed", "seconds"),
    [
        pytest.param("common", 7, 10.0, id="a dead letter was buried by a catalog that had not caught up"),
        pytest.param("common", 621, 12.0, id="a transaction was refused in part and confirmed"),
        pytest.param("definitions", 7015, 10.0, id="a dead letter went nowhere by a catalog that heard late"),
        pytest.param("traits", 324, 15.0, id="what had not come to a slow disk yet was taken for damage"),
        pytest.param("traits", 950076, 25.0, id="a queue that the leader's node had not heard of had no settings"),
    ],
)
def test_what_failed_once_holds(cast: Cast, seed: int, seconds: float) -> None:
    print(f"python -m tests.simulation --seeds 1 --first {seed} --seconds {seconds} --cast {cast} --verbose")
    simulate(seed, seconds=seconds, cast=cast)


def test_a_seed_is_one_history_in_every_process() -> None:
    history = simulate(2, seconds=2.0)
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "1", "--first", "2", "--seconds", "2"]
    command += ["--cast", "common"]
    said = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True, timeout=100).stdout
    assert said.split()[:4] == ["seed", "2", "common", history.trace], said
