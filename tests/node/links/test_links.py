import socket
from typing import cast

import trio

from cluster.node.links import LinkLimits, PeerAddress
from cluster.node.links.greeting import dial
from cluster.node.links.handshake import Identity
from cluster.raft.types import NodeId
from tests.node.links.linktools import DEADLINE_SECONDS, SECRET, A, B, Member, addresses, linked_pair


async def test_a_link_comes_up_on_both_sides_and_names_the_incarnation():
    one, two = addresses(2)
    first, second = Member(one, [two], incarnation=5), Member(two, [one], incarnation=8)
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        assert not first.links.is_up(B)
        await nursery.start(second.run)
        await first.memory.until(lambda: first.links.is_up(B))
        await second.memory.until(lambda: second.links.is_up(A))
        assert (first.memory.ups, second.memory.ups) == ([(B, 8)], [(A, 5)])
        assert first.links.up_peers() == [B]
        nursery.cancel_scope.cancel()


async def test_messages_arrive_in_order_in_both_directions():
    async with linked_pair() as (first, second):
        for number in range(1000):
            assert first.links.send(B, 7, [number, b"\x00\xff", "text", None])
            assert second.links.send(A, 8, number)
        await second.memory.until(lambda: len(second.memory.messages) == 1000)
        await first.memory.until(lambda: len(first.memory.messages) == 1000)
        assert second.memory.messages == [(A, 7, [number, b"\x00\xff", "text", None]) for number in range(1000)]
        assert first.memory.messages == [(B, 8, number) for number in range(1000)]


async def test_what_is_sent_in_one_round_leaves_in_one_write():
    async with linked_pair() as (first, second):
        for number in range(200):
            first.links.send(B, 1, number)
        waiting = first.links.statistics().peers[0].outbox_bytes
        assert waiting > 200
        await second.memory.until(lambda: len(second.memory.messages) == 200)
        assert first.links.statistics().peers[0].outbox_bytes == 0


async def test_a_message_far_larger_than_a_frame_arrives_whole():
    async with linked_pair() as (first, second):
        body = [1, bytes(range(256)) * 40_000]
        assert first.links.send(B, 7, body)
        await second.memory.until(lambda: bool(second.memory.messages))
        assert second.memory.messages == [(A, 7, body)]


async def test_control_overtakes_a_large_transfer():
    async with linked_pair() as (first, second):
        for number in range(40):
            assert first.links.send(B, 1, [number, bytes(1 << 20)])
        assert first.links.send(B, 2, "heartbeat", control=True)
        await second.memory.until(lambda: len(second.memory.messages) == 41)
        assert second.memory.messages[0] == (A, 2, "heartbeat")


async def test_control_overtakes_even_when_the_transfer_has_begun():
    async with linked_pair() as (first, second):
        for number in range(50):
            assert first.links.send(B, 1, [number, bytes(1 << 20)])
        await second.memory.until(lambda: len(second.memory.messages) >= 2)
        assert first.links.statistics().peers[0].outbox_bytes > 0
        assert first.links.send(B, 2, "vote", control=True)
        await second.memory.until(lambda: len(second.memory.messages) == 51)
        assert (A, 2, "vote") in second.memory.messages[:30]


async def test_a_droppable_message_over_the_bound_is_dropped_and_the_link_stays():
    async with linked_pair(LinkLimits(outbox_bytes_max=1 << 20)) as (first, second):
        sent = [first.links.send(B, 1, bytes(400_000), droppable=True) for _ in range(4)]
        assert sent == [True, True, True, False]
        assert first.links.statistics().peers[0].messages_dropped == 1
        await second.memory.until(lambda: len(second.memory.messages) == 3)
        assert first.links.is_up(B)


async def test_what_may_not_be_dropped_follows_the_largest_of_messages():
    async with linked_pair(LinkLimits(outbox_bytes_max=1 << 20, message_bytes_max=3 << 20)) as (first, second):
        assert first.links.send(B, 1, bytes(2 << 20))
        assert first.links.send(B, 1, b"small")
        assert not first.links.send(B, 1, b"lost", droppable=True)
        await second.memory.until(lambda: len(second.memory.messages) == 2)
        assert not first.memory.downs


async def test_any_other_message_far_over_the_bound_closes_the_link_which_comes_back():
    async with linked_pair(LinkLimits(outbox_bytes_max=1 << 20, message_bytes_max=1 << 19)) as (first, second):
        sent = [first.links.send(B, 1, bytes(400_000)) for _ in range(4)]
        assert sent == [True, True, True, False]
        assert not first.memory.downs, "a handler is never called from within send"
        await first.memory.until(lambda: bool(first.memory.downs))
        assert first.memory.downs == [(B, "outbox is full")]
        await second.memory.until(lambda: bool(second.memory.downs))
        await first.memory.until(lambda: first.links.is_up(B))
        await second.memory.until(lambda: second.links.is_up(A))
        assert first.memory.told.count("up") == first.memory.told.count("down") + 1


async def test_nothing_is_sent_to_a_peer_that_is_down_or_unknown():
    one, two = addresses(2)
    member = Member(one, [two])
    async with trio.open_nursery() as nursery:
        await nursery.start(member.run)
        assert not member.links.send(B, 1, None)
        assert not member.links.send(3, 1, None)
        nursery.cancel_scope.cancel()


async def test_a_peer_that_stops_is_seen_down_and_up_again_with_its_next_incarnation():
    one, two = addresses(2)
    first, second = Member(one, [two]), Member(two, [one], incarnation=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        await first.memory.until(lambda: first.links.is_up(B))
        await second.memory.until(lambda: second.links.is_up(A))
        await second.stop()
        assert second.memory.downs == [(A, "this node is stopping")]
        await first.memory.until(lambda: not first.links.is_up(B))
        again = Member(two, [one], incarnation=2)
        await nursery.start(again.run)
        await first.memory.until(lambda: first.links.is_up(B))
        assert first.memory.ups == [(B, 1), (B, 2)]
        assert first.memory.told == ["up", "down", "up"]
        nursery.cancel_scope.cancel()


async def test_members_added_later_are_linked_and_removed_ones_left():
    one, two = addresses(2)
    first, second = Member(one, []), Member(two, [])
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        first.links.add_peer(two)
        second.links.add_peer(one)
        await first.memory.until(lambda: first.links.is_up(B))
        await second.memory.until(lambda: second.links.is_up(A))
        first.links.remove_peer(B)
        assert not first.links.is_up(B)
        await first.memory.until(lambda: bool(first.memory.downs))
        assert first.memory.downs == [(B, "removed from the cluster")]
        await second.memory.until(lambda: not second.links.is_up(A))
        nursery.cancel_scope.cancel()


async def test_a_member_that_moved_is_dialled_at_its_new_address():
    one, two, elsewhere = addresses(3)
    moved = PeerAddress(name="mq-2", node=B, host=elsewhere.host, port=elsewhere.port)
    first, second = Member(one, [two]), Member(moved, [one])
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        first.links.add_peer(moved)
        await first.memory.until(lambda: first.links.is_up(B))
        nursery.cancel_scope.cancel()


async def mistaken(first: Member, second: Member) -> socket.socket:
    """What `first` has when it looks for somebody else where `second` listens."""
    sock, found = await dial(
        second.address.host,
        second.address.port,
        identity=Identity(cluster_id="c1", node=A, name="mq-1", incarnation=1),
        secret=SECRET,
        limits=LinkLimits(),
        certificates=None,
        connecting=trio.CancelScope(),
    )
    assert found.node == B
    return cast(socket.socket, sock)


async def test_a_node_that_is_dialled_in_the_place_of_another_keeps_its_link_to_the_dialler():
    async with linked_pair() as (first, second):
        second.memory.answer = lambda peer, kind, body: body
        for turn in range(3):
            (await mistaken(first, second)).close()
            assert await first.links.call(B, 5, turn, 5) == turn
        assert first.memory.downs == second.memory.downs == []


async def test_a_member_at_the_address_of_another_takes_no_link_down():
    one, two = addresses(2)
    first, second = Member(one, [two]), Member(two, [one])
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        await first.memory.until(lambda: first.links.is_up(B))
        second.memory.answer = lambda peer, kind, body: body
        first.links.add_peer(PeerAddress("mq-3", NodeId(3), two.host, two.port))
        with trio.move_on_after(1):
            while True:
                await first.links.call(B, 5, None, 5)
        assert first.memory.downs == []
        assert not first.links.is_up(NodeId(3))
        nursery.cancel_scope.cancel()


async def test_a_connection_that_stays_replaces_the_one_that_was_there():
    async with linked_pair() as (first, second):
        again = await mistaken(first, second)
        await second.memory.until(lambda: bool(second.memory.downs))
        assert second.memory.downs == [(A, "replaced by a new connection")]
        again.close()
        await first.memory.until(lambda: first.links.is_up(B) and len(first.memory.ups) > 1)


async def test_silence_closes_the_link():
    """The other side's pings come far too seldom for this side's patience."""
    one, two = addresses(2)
    patient = LinkLimits(ping_interval_seconds=1000)
    hasty = LinkLimits(ping_interval_seconds=0.02, link_timeout_seconds=0.1)
    first, second = Member(one, [two], limits=hasty), Member(two, [one], limits=patient)
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        await first.memory.until(lambda: bool(first.memory.downs))
        assert first.memory.downs[0][1].startswith("silent for 0.")
        await second.memory.until(lambda: bool(second.memory.downs))
        nursery.cancel_scope.cancel()


async def test_pings_keep_an_idle_link_up():
    limits = LinkLimits(ping_interval_seconds=0.01, link_timeout_seconds=0.2)
    async with linked_pair(limits) as (first, second):
        with trio.fail_after(DEADLINE_SECONDS):
            while second.links.statistics().peers[0].messages_received < 50:
                await trio.lowlevel.checkpoint()
        assert first.memory.told == second.memory.told == ["up"]


async def test_three_members_are_all_linked():
    all_of_them = addresses(3)
    members = [Member(own, [other for other in all_of_them if other != own]) for own in all_of_them]
    async with trio.open_nursery() as nursery:
        for member in members:
            await nursery.start(member.run)
        for member in members:
            await member.memory.until(lambda member=member: len(member.links.up_peers()) == 2)
        nursery.cancel_scope.cancel()
