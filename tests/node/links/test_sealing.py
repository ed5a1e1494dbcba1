"""Links with and without TLS, and the way from one to the other with a node at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from cluster.node.links import ProbeFailed, probe
from cluster.node.tls import Certificates
from tests.node.links.linktools import SECRET, A, B, Member, addresses
from tests.node.tls.authority import Authority

PLAIN, PLAIN_BOTH_WAYS, SEALED_BOTH_WAYS, SEALED = range(4)
"""What a node is told, in the order of a change from plain to sealed."""


def member(place, others, how: int, made: Certificates) -> Member:
    return Member(
        place,
        others,
        certificates=made if how >= SEALED_BOTH_WAYS else None,
        both_ways=made if how in (PLAIN_BOTH_WAYS, SEALED_BOTH_WAYS) else None,
    )


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    authority = Authority(tmp_path)
    authority.issue("mq", "127.0.0.1")
    return Certificates(authority.section("mq"))


@pytest.mark.parametrize("step", [PLAIN, PLAIN_BOTH_WAYS, SEALED_BOTH_WAYS])
async def test_nodes_that_are_one_step_apart_are_linked_and_carry_messages_both_ways(
    made: Certificates, step: int
) -> None:
    one, two = addresses(2)
    behind, ahead = member(one, [two], step, made), member(two, [one], step + 1, made)
    async with trio.open_nursery() as nursery:
        await nursery.start(behind.run)
        await nursery.start(ahead.run)
        await behind.memory.until(lambda: behind.links.is_up(B))
        await ahead.memory.until(lambda: ahead.links.is_up(A))
        body = bytes(1 << 20)
        assert behind.links.send(B, 7, body)
        assert ahead.links.send(A, 8, body)
        await ahead.memory.until(lambda: ahead.memory.messages == [(A, 7, body)])
        await behind.memory.until(lambda: behind.memory.messages == [(B, 8, body)])
        nursery.cancel_scope.cancel()


async def test_when_the_change_is_done_nobody_comes_without(made: Certificates) -> None:
    (place,) = addresses(1)
    sealed = member(place, [], SEALED, made)
    async with trio.open_nursery() as nursery:
        await nursery.start(sealed.run)
        with pytest.raises(ProbeFailed):
            await probe(place.host, place.port, SECRET)
        await probe(place.host, place.port, SECRET, certificates=made)
        nursery.cancel_scope.cancel()
