import trio
import trio.testing

from cluster.raft.messages import Append, SnapshotChunkMessage, TimeoutNow
from cluster.raft.runtime import RuntimeConfig
from cluster.raft.runtime.mailbox import Inbox, Outbox
from cluster.raft.runtime.wakeup import Wakeup
from cluster.raft.types import Configuration, Entry, EntryKind, SnapshotMeta

META = SnapshotMeta(9, 1, Configuration((1, 2, 3)))


def nudge(target=2, group=1):
    return TimeoutNow(group, 1, target, 5)


def append(data):
    return Append(1, 1, 2, 5, 0, 0, 0, [Entry(5, 1, EntryKind.COMMAND, data)])


def test_an_inbox_drops_whole_parcels_over_its_limits():
    inbox = Inbox(RuntimeConfig(inbox_messages_max=3, inbox_bytes_max=100))
    inbox.put([nudge(), nudge()])
    inbox.put([nudge(), nudge()])
    inbox.put([append(bytes(101))])
    inbox.put([append(bytes(100))])
    assert [type(message) for message in inbox.take()] == [TimeoutNow, TimeoutNow, Append]
    assert (inbox.received, inbox.dropped) == (6, 3)
    assert not inbox


def test_an_empty_inbox_takes_a_parcel_of_any_size():
    inbox = Inbox(RuntimeConfig(inbox_messages_max=1, inbox_bytes_max=1))
    inbox.put([append(bytes(50)), nudge()])
    assert len(inbox.take()) == 2


def test_an_outbox_makes_one_parcel_a_peer_of_all_groups():
    parcels = []

    class Remember:
        def send(self, peer, messages):
            parcels.append((peer, [message.group for message in messages]))

    outbox = Outbox(100)
    outbox.put([nudge(2, 1), nudge(3, 1)])
    outbox.put([nudge(2, 7)])
    outbox.send(Remember())
    outbox.send(Remember())
    assert parcels == [(2, [1, 7]), (3, [1])]
    assert outbox.sent == 3


async def test_chunks_of_snapshots_leave_at_a_limited_rate_and_hold_nothing_else_up():
    sent = []

    class Remember:
        def send(self, peer, messages):
            for message in messages:
                sent.append((peer, message.data if isinstance(message, SnapshotChunkMessage) else "nudge"))

    def chunk(data, target=2):
        return SnapshotChunkMessage(1, 1, target, 5, META, b"", data, None)

    def leave():
        sent.clear()
        outbox.send(Remember())
        return list(sent)

    outbox = Outbox(100)
    outbox.put([chunk(bytes(80)), chunk(b"b" * 80, 3), chunk(b"c" * 80, 4), nudge(4)])
    assert leave() == [(2, bytes(80)), (3, b"b" * 80), (4, "nudge")]
    outbox.put([chunk(b"d" * 80, 4)])
    outbox.tick()
    assert leave() == [(4, b"d" * 80)], "what is said again is said once"
    outbox.put([chunk(b"e" * 80), chunk(b"f" * 80, 3)])
    outbox.tick()
    assert leave() == [(2, b"e" * 80)]
    outbox.tick()
    assert leave() == [(3, b"f" * 80)]


async def test_many_wakes_in_a_round_wake_once_and_after_the_round():
    wakeup, order = Wakeup(), []

    async def sleeper():
        while True:
            await wakeup.wait()
            order.append("woken")

    async def waker(name):
        order.append(name)
        wakeup.wake()
        wakeup.wake()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeper)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(waker, "a")
        nursery.start_soon(waker, "a")
        await trio.testing.wait_all_tasks_blocked()
        assert order == ["a", "a", "woken"]
        nursery.cancel_scope.cancel()


async def test_a_wake_up_that_is_led_wakes_the_waiter_of_its_leader_and_not_its_own():
    leader, led, order = Wakeup(), Wakeup(), []

    async def sleeper(wakeup, name):
        while True:
            await wakeup.wait()
            order.append((name, led.take()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeper, leader, "leader")
        nursery.start_soon(sleeper, led, "led")
        await trio.testing.wait_all_tasks_blocked()
        led.led_by(leader)
        led.wake()
        await trio.testing.wait_all_tasks_blocked()
        assert order == [("leader", True)]
        led.led_by(None)
        led.wake()
        await trio.testing.wait_all_tasks_blocked()
        assert order == [("leader", True), ("led", False)]
        nursery.cancel_scope.cancel()


async def test_what_was_wanted_before_a_wake_up_is_led_is_the_leaders_to_do_and_the_other_way_round():
    leader, led = Wakeup(), Wakeup()
    led.wake()
    led.led_by(leader)
    with trio.fail_after(5):
        await leader.wait()
    led.led_by(None)
    with trio.fail_after(5):
        await led.wait()


async def test_a_wake_before_the_wait_is_not_lost():
    wakeup = Wakeup()
    wakeup.wake()
    with trio.fail_after(5):
        await wakeup.wait()


async def test_a_cancelled_wait_can_be_woken_without_harm_and_waited_on_again():
    wakeup = Wakeup()
    with trio.move_on_after(0):
        await wakeup.wait()
    wakeup.wake()
    with trio.fail_after(5):
        await wakeup.wait()
