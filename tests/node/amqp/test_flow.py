"""What a node keeps of what went through its channels, and for how long."""

from __future__ import annotations

from cluster.broker.catalog.commands import (
    DeclareExchange,
    DeclareQueue,
    DeleteExchange,
    DeleteQueue,
    DeleteVhost,
    PutVhost,
)
from cluster.broker.catalog.ids import QueueId
from cluster.broker.catalog.outcome import QueueDeclared, QueueDeleted, VhostDeleted
from cluster.node.amqp import flow as flow_module
from cluster.node.amqp.flow import Flow, Flows
from tests.broker.catalog.build import Founded


def founded() -> tuple[Founded, Flows]:
    made = Founded()
    made.ok(DeclareExchange("/", "ex", "fanout", True, False, False))
    return made, Flows(made.catalog)


def test_what_is_published_is_summed_over_the_numbers_of_queues_that_it_went_to() -> None:
    _, flows = founded()
    flows.entrance("/", "ex", 0).count += 2
    flows.entrance("/", "ex", 3).count += 5
    flows.entrance("/", "", 1).count += 1
    assert flows.by_exchange() == {("/", "ex"): (7, 15), ("/", ""): (1, 1)}


def test_an_exchange_that_is_made_anew_begins_anew_and_one_that_is_gone_is_not_told_of() -> None:
    made, flows = founded()
    flows.entrance("/", "ex", 1).count += 9
    made.ok(DeleteExchange("/", "ex", False))
    assert flows.by_exchange() == {}
    made.ok(DeclareExchange("/", "ex", "fanout", True, False, False))
    assert flows.by_exchange() == {}
    flows.entrance("/", "ex", 1).count += 1
    assert flows.by_exchange() == {("/", "ex"): (1, 1)}


def test_exchanges_that_are_gone_are_forgotten_once_there_are_many() -> None:
    made, flows = founded()
    for number in range(flow_module._EXCHANGES_LOOK + 10):
        made.ok(DeclareExchange("/", f"x{number}", "fanout", True, False, False))
        flows.entrance("/", f"x{number}", 1).count += 1
        made.ok(DeleteExchange("/", f"x{number}", False))
    assert len(flows._entrances) < 20


def test_queues_are_counted_where_they_are_led_and_what_was_taken_goes_with_them() -> None:
    made, flows = founded()
    made.ok(DeclareQueue("/", "q", True, False, False))
    queue = made.catalog.queue("/", "q")
    assert queue is not None
    flows.catalog_changed([QueueDeclared(queue)], lambda queue: False)
    flows.catalog_changed([QueueDeclared(queue)], lambda queue: True)
    flows.queue(queue.id).get += 1
    assert list(flows.queues) == [queue.id]
    made.ok(DeleteQueue("/", "q", queue.id))
    flows.catalog_changed([QueueDeleted(queue)], lambda queue: True)
    assert (flows.queues_created, flows.queues_deleted, flows.queues) == (1, 1, {})
    assert flows.queue(QueueId(1)) is flows.queue(QueueId(1))


def test_a_vhost_has_what_its_closed_channels_counted_until_it_goes_and_the_node_keeps_it() -> None:
    made, flows = founded()
    made.ok(PutVhost("v", "", "", "classic"))
    flow = Flow()
    flow.publish = 3
    flows.channel_over("v", flow)
    flows.channel_over("v", flow)
    flows.channel_over("gone", flow)
    assert flows.by_vhost([])["v"].flow.publish == 6
    made.ok(DeleteVhost("v"))
    flows.catalog_changed([VhostDeleted("v")], lambda queue: True)
    assert flows.by_vhost([]) == {}
    assert flows.total([]).publish == 9
