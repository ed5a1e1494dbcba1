"""Random histories: on both stores the same, and on LMDB through kill -9."""

from __future__ import annotations

import itertools
import os
import random
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.machine.shim import Disk, build, missing_for_shim, of_store
from cluster.store.lmdb_store import LmdbStore
from cluster.store.memory import MemoryStore

from .history import contents, history
from .seed import chosen_seed

KILLS = 5
REPORTS_MAX = 40
WAIT_SECONDS_MAX = 0.02


def test_both_stores_tell_the_same_after_any_history(tmp_path: Path) -> None:
    seed = chosen_seed()
    model = MemoryStore()
    store = LmdbStore(tmp_path, map_size=1 << 17)
    for number, writes in enumerate(itertools.islice(history(seed), 200)):
        model.write(writes)
        store.write(writes)
        if number % 20 == 19:
            assert contents(store) == contents(model)
        if number % 50 == 49:
            store.close()
            store = LmdbStore(tmp_path, map_size=1 << 17)
            assert contents(store) == contents(model)
    store.close()


def test_every_reported_write_survives_kill_and_nothing_is_torn(tmp_path: Path) -> None:
    """The killed process leaves the state after its last reported write, or after the one that was under way.
    The next process goes on from there."""
    seed = chosen_seed()
    chance = random.Random(seed)
    done = 0
    for _ in range(KILLS):
        reported = _write_until_killed(tmp_path, seed, done, chance)
        done = _check(tmp_path, seed, reported)
    assert done > 0


@pytest.mark.skipif(bool(missing_for_shim()), reason=missing_for_shim())
def test_every_reported_write_survives_power_failures_and_nothing_is_torn(tmp_path: Path) -> None:
    """Between two of them processes are killed: what these had not flushed the next power failure may take."""
    seed = chosen_seed()
    chance = random.Random(seed)
    path = tmp_path / "store"
    disk = Disk(build(tmp_path), of_store(path), tmp_path / "shim")
    done = 0
    for _ in range(4 * KILLS):
        reported = _write_until_killed(path, seed, done, chance, disk)
        if chance.random() < 0.5:
            disk.lose_power(chance)
            disk.forget()
        # A look at a copy flushes nothing.
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path, copy)
        done = _check(copy, seed, reported)
    assert done > 0


def _check(path: Path, seed: int, reported: int) -> int:
    """How many writes of the history `path` holds: all that were reported, or one more."""
    store = LmdbStore(path)
    assert store.journal_damage == ""
    found = contents(store)
    store.close()
    model = MemoryStore()
    states = []
    for count, writes in enumerate(itertools.islice(history(seed), reported + 1), start=1):
        model.write(writes)
        if count >= reported:
            states.append(contents(model))
    if reported == 0:
        states.insert(0, {})
    assert found in states, f"after {reported} reported writes"
    return reported + states.index(found)


def _write_until_killed(path: Path, seed: int, done: int, chance: random.Random, disk: Disk | None = None) -> int:
    """How many writes of the history were reported as durable, those before this process included."""
    package = Path(__file__).parent
    with subprocess.Popen(
        [
            *(disk.environment() if disk else []),
            sys.executable,
            "-m",
            f"{package.name}.crash_child",
            str(path),
            str(seed),
            str(done),
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package.parent), *sys.path])},
    ) as child:
        assert child.stdout is not None
        output = child.stdout.fileno()
        heard = bytearray()
        wanted = chance.randrange(REPORTS_MAX)
        while heard.count(b"\n") <= wanted:
            more = os.read(output, 4096)
            assert more, "the writing process ended by itself"
            heard += more
        if disk:
            disk.stall(stalled=True)
        select.select([], [], [], chance.uniform(0, WAIT_SECONDS_MAX))
        child.send_signal(signal.SIGKILL)
        while more := os.read(output, 4096):
            heard += more
    if disk:
        disk.stall(stalled=False)
    reports = heard.decode().split("\n")[:-1]
    assert reports[0] == "open"
    return int(reports[-1]) if len(reports) > 1 else done


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_history_is_the_same_for_the_same_seed(seed: int) -> None:
    first, second = (list(itertools.islice(history(seed), 50)) for _ in range(2))
    assert first == second
