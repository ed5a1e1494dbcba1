"""When two connections become a link."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.node.links.carrier import Carrier
from cluster.node.links.complaints import Complaints
from cluster.node.links.handshake import Identity
from cluster.node.links.interface import LinkLimits, PeerAddress
from cluster.node.links.peer import Incoming, Outgoing, Peer, PeerState
from tests.node.links.linktools import B, Memory

LIMITS = LinkLimits()
TWO = Identity(cluster_id="c1", node=B, name="mq-2", incarnation=1)


@contextmanager
def two_halves() -> Iterator[tuple[Carrier, Memory, Peer, socket.socket, socket.socket]]:
    """A peer with a connection each way that have not met, and its ends of the outgoing and the incoming one."""
    memory = Memory()
    carrier = Carrier(memory, LIMITS, Complaints(LIMITS.complaint_interval_seconds))
    peer = Peer(PeerAddress("mq-2", B, "127.0.0.1", 1))
    near, far = socket.socketpair()
    other_near, other_far = socket.socketpair()
    with near, far, other_near, other_far:
        peer.outgoing, peer.incoming = Outgoing(near, TWO, LIMITS), Incoming(other_near, TWO, LIMITS)
        yield carrier, memory, peer, far, other_far


@pytest.mark.parametrize("hung_up", ["outgoing", "incoming"])
async def test_a_connection_that_was_hung_up_is_no_half_of_a_link(hung_up: str) -> None:
    with two_halves() as (carrier, memory, peer, far, other_far):
        (far if hung_up == "outgoing" else other_far).close()
        carrier.meet(peer)
        assert peer.state is PeerState.APART
        assert (peer.outgoing is None, peer.incoming is None) == (hung_up == "outgoing", hung_up == "incoming")
        again, its_end = socket.socketpair()
        with again, its_end:
            if peer.outgoing is None:
                peer.outgoing = Outgoing(again, TWO, LIMITS)
            else:
                peer.incoming = Incoming(again, TWO, LIMITS)
            carrier.meet(peer)
            assert peer.state is PeerState.UP
            assert memory.told == ["up"]


async def test_a_link_that_turns_out_to_be_broken_in_the_middle_of_a_turn_goes_down_in_the_next() -> None:
    with two_halves() as (carrier, memory, peer, far, _):
        carrier.meet(peer)
        assert carrier.queue(peer, 1, "to be lost", control=False, droppable=False)
        far.close()
        carrier.write()
        assert memory.told == ["up"]
        assert peer.state is PeerState.FAILING
        carrier.turn()
        assert memory.told == ["up", "down"]
