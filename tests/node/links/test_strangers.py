import logging
import socket
from contextlib import contextmanager

import pytest
import trio

from cluster.node.links import LinkLimits, PeerAddress, ProbeFailed, ProtocolViolation, petition, probe
from cluster.node.links.frames import HELLO, encode_frame, pack_body
from tests.node.links.linktools import DEADLINE_SECONDS, SECRET, A, B, Member, addresses, linked_pair

FAST = LinkLimits(backoff_first_seconds=0.001, backoff_max_seconds=0.001)


class Lines(logging.Handler):
    """Remembers the events that links log."""

    def __init__(self):
        super().__init__()
        self.events = []

    def emit(self, record):
        self.events.append(record.getMessage())


@contextmanager
def logged_lines():
    lines = Lines()
    logger = logging.getLogger("cluster.links")
    logger.addHandler(lines)
    try:
        yield lines.events
    finally:
        logger.removeHandler(lines)


async def until_logged(events, text):
    with trio.fail_after(DEADLINE_SECONDS):
        while not any(text in event for event in events):
            await trio.lowlevel.checkpoint()


async def refused_pair(first, second, text):
    with logged_lines() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(first.run)
            await nursery.start(second.run)
            await until_logged(logs, text)
            assert not first.memory.told
            assert not second.memory.told
            nursery.cancel_scope.cancel()
    return logs


async def test_another_secret_is_complained_of_by_name_and_only_once():
    one, two = addresses(2)
    first, second = Member(one, [two], limits=FAST), Member(two, [one], secret=b"other", limits=FAST)
    with logged_lines() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(first.run)
            await nursery.start(second.run)
            for name in ("mq-1", "mq-2"):
                await until_logged(logs, f"cluster secret mismatch with {name}")
            for _ in range(300):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    for name in ("mq-1", "mq-2"):
        assert sum(event.endswith(f"cluster secret mismatch with {name}") for event in logs) == 1


async def test_another_cluster_is_refused():
    one, two = addresses(2)
    first = Member(one, [two], limits=FAST)
    second = Member(two, [one], cluster_id="c2", limits=FAST)
    await refused_pair(first, second, "cluster id mismatch: c")


async def test_a_node_that_is_no_member_is_refused():
    one, two = addresses(2)
    first, second = Member(one, [], limits=FAST), Member(two, [one], limits=FAST)
    await refused_pair(first, second, "node 2 is no member with mq-1")


async def test_a_node_that_answers_at_anothers_address_is_not_taken_for_it():
    one, two = addresses(2)
    wrong = PeerAddress(name="mq-3", node=3, host=two.host, port=two.port)
    first, second = Member(one, [wrong], limits=FAST), Member(two, [one], limits=FAST)
    await refused_pair(first, second, "is node 2, expected node 3 (mq-3)")


async def test_a_probe_describes_a_node_that_has_no_cluster_yet():
    (one,) = addresses(1)
    member = Member(one, [], cluster_id="")
    async with trio.open_nursery() as nursery:
        await nursery.start(member.run)
        assert await probe(one.host, one.port, SECRET) == member.memory.describe()
        with pytest.raises(ProbeFailed, match=rf"^127.0.0.1:{one.port}: cluster secret mismatch$"):
            await probe(one.host, one.port, b"guess")
        nursery.cancel_scope.cancel()
    with pytest.raises(ProbeFailed, match=rf"^127.0.0.1:{one.port}: Connection refused$"):
        await probe(one.host, one.port, SECRET)


async def test_who_knows_the_secret_may_ask_to_become_a_member():
    (one,) = addresses(1)
    member = Member(one, [])
    async with trio.open_nursery() as nursery:
        await nursery.start(member.run)
        assert await petition(one.host, one.port, SECRET, {"name": "mq-9"}) == {"asked": {"name": "mq-9"}}
        with pytest.raises(ProbeFailed, match="cluster secret mismatch"):
            await petition(one.host, one.port, b"guess", {})
        nursery.cancel_scope.cancel()


async def test_a_former_member_is_told_that_it_left():
    one, two = addresses(2)
    first, second = Member(one, []), Member(two, [one])
    first.links.has_left = lambda node: node == B
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        await second.memory.until(lambda: bool(second.memory.refusals))
        assert second.memory.refusals[0] == (A, "node 2 has left the cluster")
        nursery.cancel_scope.cancel()


async def test_a_node_links_as_soon_as_it_has_become_a_member():
    one, two = addresses(2)
    first, second = Member(one, [two]), Member(two, [one], cluster_id="")
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        second.links.adopt_identity(cluster_id="c1", node=B)
        await first.memory.until(lambda: first.links.is_up(B))
        with pytest.raises(ValueError, match=r"^already node 2 of cluster c1$"):
            second.links.adopt_identity(cluster_id="c2", node=B)
        nursery.cancel_scope.cancel()


async def closed_by_peer(sock):
    with trio.fail_after(DEADLINE_SECONDS):
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                if not sock.recv(65536):
                    return
            except ConnectionError:
                return


def connected(address):
    sock = socket.create_connection((address.host, address.port))
    sock.setblocking(False)
    return sock


async def test_a_stranger_has_only_so_much_time_and_so_many_bytes():
    (one,) = addresses(1)
    member = Member(one, [], limits=LinkLimits(handshake_timeout_seconds=0.05))
    async with trio.open_nursery() as nursery:
        await nursery.start(member.run)
        silent, talkative, foreign = connected(one), connected(one), connected(one)
        talkative.send(b"".join(encode_frame(HELLO, pack_body(bytes(5000)))))
        foreign.send(b"GET / HTTP/1.1\r\n\r\n")
        for sock in (silent, talkative, foreign):
            await closed_by_peer(sock)
            sock.close()
        assert member.links.statistics().handshakes_pending == 0
        nursery.cancel_scope.cancel()


async def test_strangers_over_the_limit_are_closed_at_once():
    (one,) = addresses(1)
    member = Member(one, [], limits=LinkLimits(handshakes_pending_max=1, handshake_timeout_seconds=60))
    async with trio.open_nursery() as nursery:
        await nursery.start(member.run)
        waiting = connected(one)
        with trio.fail_after(DEADLINE_SECONDS):
            while member.links.statistics().handshakes_pending == 0:
                await trio.lowlevel.checkpoint()
        surplus = connected(one)
        await closed_by_peer(surplus)
        waiting.close()
        surplus.close()
        nursery.cancel_scope.cancel()


async def test_a_handler_can_close_a_link_whose_peer_misbehaves():
    async with linked_pair() as (first, second):

        def judge(peer, kind, body):
            raise ProtocolViolation("an append without a term")

        second.memory.message = judge
        first.links.send(B, 1, None)
        await second.memory.until(lambda: bool(second.memory.downs))
        assert second.memory.downs == [(A, "protocol violation: an append without a term")]
        await first.memory.until(lambda: bool(first.memory.downs))
