"""What one node confirms holds on the others with the next frame, also when many speak at the same moment."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from cluster.amqp import methods as m
from cluster.node.amqp.channel import BACKLOG_MAX
from tests.cluster.harness import LocalCluster
from tests.contract.clients import Clients, take
from tests.contract.wire import Wire, publish


def declare(name: str, **bits: bool) -> m.QueueDeclare:
    return m.QueueDeclare(
        name,
        bits.get("passive", False),
        bits.get("durable", False),
        bits.get("exclusive", False),
        bits.get("auto_delete", False),
        False,
        {},
    )


@pytest.mark.parametrize("durable", [True, False])
def test_the_same_declaration_through_all_nodes_at_once_makes_one_queue(
    nodes: LocalCluster, name: str, durable: bool
) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(nodes.port(n % 3))).open(1) for n in range(6)]
        for round_ in range(5):
            for wire in wires:
                wire.call(declare(f"{name}-{round_}", durable=durable))
            for wire in wires:
                assert wire.expect(m.QueueDeclareOk).queue == f"{name}-{round_}"
            wires[round_].call(m.ConfirmSelect(False))
            wires[round_].expect(m.ConfirmSelectOk)
            wires[round_].send(publish("", f"{name}-{round_}", b"x", mandatory=True))
            assert isinstance(wires[round_].method()[1], m.BasicAck)
            for wire in wires:
                wire.call(declare(f"{name}-{round_}", passive=True))
                assert wire.expect(m.QueueDeclareOk).message_count == 1


def test_one_of_many_exclusive_declarations_wins_and_the_others_are_locked_out(nodes: LocalCluster, name: str) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(nodes.port(n))).open(1) for n in range(3)]
        for wire in wires:
            wire.call(declare(name, exclusive=True))
        answers = [wire.method()[1] for wire in wires]
        assert sorted(answer.NAME for answer in answers) == ["channel.close", "channel.close", "queue.declare-ok"]
        assert {answer.reply_code for answer in answers if isinstance(answer, m.ChannelClose)} == {405}


def test_a_deleted_queue_is_no_target_any_more_and_its_successor_is(nodes: LocalCluster, name: str) -> None:
    with Wire(nodes.port(0)) as manager, Wire(nodes.port(1)) as publisher:
        manager.open(1)
        publisher.open(1)
        publisher.call(m.ConfirmSelect(False))
        publisher.expect(m.ConfirmSelectOk)
        tag = 0
        for _ in range(5):
            manager.call(declare(name, durable=True))
            manager.expect(m.QueueDeclareOk)
            tag += 1
            publisher.send(publish("", name, b"x", mandatory=True))
            assert publisher.expect(m.BasicAck).delivery_tag == tag
            manager.call(m.QueueDelete(name, False, False, False))
            assert manager.expect(m.QueueDeleteOk).message_count == 1
            tag += 1
            publisher.send(publish("", name, b"y", mandatory=True))
            assert publisher.message(m.BasicReturn).body == b"y"
            assert publisher.expect(m.BasicAck).delivery_tag == tag


def test_a_large_message_goes_whole_through_another_node(clients: Clients, name: str) -> None:
    body = bytes(range(256)) * (5 << 12)
    publisher, consumer = clients.channel(0), clients.channel(1)
    for queue, durable in ((f"{name}-d", True), (f"{name}-t", False)):
        publisher.queue_declare(queue, durable=durable)
        publisher.confirm_delivery()
        publisher.basic_publish("", queue, body, mandatory=True)
        assert take(consumer, queue)[2] == body


def test_a_client_may_say_more_than_may_wait_and_a_channel_that_fails_meanwhile_holds_up_no_other(
    nodes: LocalCluster, name: str
) -> None:
    count = 3 * BACKLOG_MAX
    with Wire(nodes.port(0)) as wire:
        wire.open(1)
        wire.open_channel(2)
        wire.call(declare(f"{name}-failing", durable=True), 2)
        wire.call(declare(f"{name}-missing", passive=True), 2)
        for _ in range(count):
            wire.call(declare(name, durable=True), 1)
            wire.call(declare(name, passive=True), 2)
        told: dict[int, list[str]] = {1: [], 2: []}
        while len(told[1]) < count or len(told[2]) < 2:
            channel, method = wire.method()
            told[channel].append(method.NAME)
        assert told == {1: ["queue.declare-ok"] * count, 2: ["queue.declare-ok", "channel.close"]}
