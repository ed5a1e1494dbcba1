"""Digests of a state at marks of the log, taken bit by bit."""

import hashlib

import pytest
import trio

from cluster.node.checkpoints import BEGUN_MAX, PIECES_A_TICK, Checkpoints

FEW = [b"a"]
MANY = [b"%d" % n for n in range(3 * PIECES_A_TICK)]


def digest(pieces: list[bytes]) -> str:
    return hashlib.sha256(b"".join(pieces)).hexdigest()


async def test_a_small_state_has_its_digest_at_once() -> None:
    checkpoints = Checkpoints()
    checkpoints.begin(b"mark", 7, iter(FEW))
    with trio.fail_after(0):
        assert await checkpoints.reached(b"mark") == 7
        assert await checkpoints.digest(b"mark") == digest(FEW)


async def test_a_large_state_is_reached_at_once_and_has_its_digest_some_ticks_later() -> None:
    checkpoints = Checkpoints()
    checkpoints.begin(b"mark", 7, iter(MANY))
    assert await checkpoints.reached(b"mark") == 7
    for _ in range(3):
        with pytest.raises(trio.TooSlowError), trio.fail_after(0):
            await checkpoints.digest(b"mark")
        checkpoints.tick()
    assert await checkpoints.digest(b"mark") == digest(MANY)
    checkpoints.tick()


async def test_of_digests_that_are_not_complete_few_are_kept() -> None:
    checkpoints = Checkpoints()
    for number in range(BEGUN_MAX + 1):
        checkpoints.begin(b"%d" % number, number, iter(MANY))
    for _ in range(4 * BEGUN_MAX):
        checkpoints.tick()
    assert await checkpoints.digest(b"1") == await checkpoints.digest(b"2") == digest(MANY)
    with pytest.raises(trio.TooSlowError), trio.fail_after(0):
        await checkpoints.digest(b"0")
