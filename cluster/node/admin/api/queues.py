"""Queues under /api/queues.

Law: what changes something is judged as the same method over AMQP, by whose permissions `Caller` says. The counts of a
list are what the leaders of the queues answered in time; the counts of one queue are asked of its leader.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Final

import trio
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.definitions import QueueDefinition
from cluster.broker.catalog.ids import NO_CONNECTION
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import changed, depths, found, listed, nothing, paged, wish_of
from cluster.node.admin.api.asked import Asked, Endpoint, together
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.fields import Document, field, short_name
from cluster.node.admin.api.figures import peer_of, queue_flow, queue_rest, queue_weight, shallow
from cluster.node.admin.api.sessions import consumer_document
from cluster.node.admin.api.values import to_json, to_table
from cluster.node.admin.gently import gently, gently_sorted
from cluster.node.admin.report import NO_COUNTS, ConnectionReport, ConsumerReport, QueueCounts

FLOWS_NAMED_MAX: Final = 500
"""What clients took from more queues is asked for all."""
_BY_DEFINITION: Final[Mapping[str, Callable[[QueueDefinition], Any]]] = {
    "name": attrgetter("name"),
    "vhost": attrgetter("vhost"),
    "type": attrgetter("type"),
    "durable": attrgetter("durable"),
    "auto_delete": attrgetter("auto_delete"),
    "exclusive": attrgetter("exclusive"),
}
"""Columns that the catalog knows, and how queues are ordered by them."""
_BY_COUNTS: Final[Mapping[str, Callable[[QueueCounts], int]]] = {
    "messages": attrgetter("messages"),
    "messages_ready": attrgetter("ready"),
    "messages_unacknowledged": attrgetter("unacked"),
    "consumers": attrgetter("consumers"),
    "message_stats.publish": attrgetter("enqueued"),
    "message_bytes": lambda counts: counts.ready_bytes + counts.unacked_bytes + counts.parked_bytes,
}
"""The same of columns that only leaders know."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is said of queues besides their leaders' counts. `flows` is what clients took from them; `chosen` are the
    consumers that alone are served, by node and number; `owners` the connections that exclusive queues belong to."""

    flows: Mapping[int, list[int]]
    chosen: Mapping[tuple[int, int], ConsumerReport]
    owners: Mapping[str, ConnectionReport]


async def beside(
    asked: Asked,
    queues: Sequence[QueueDefinition],
    counts: Mapping[int, QueueCounts],
    consumers: Sequence[ConsumerReport] = (),
) -> Beside:
    """Asks only for what these queues need, and `consumers` do not tell."""
    node, timeout_seconds = asked.node, asked.timeout_seconds()
    flows: dict[int, list[int]] = {}
    chosen = {(consumer.node_id, consumer.number): consumer for consumer in consumers if consumer.node_id}
    owners: dict[str, ConnectionReport] = {}

    async def ask_flows() -> None:
        wanted = None if len(queues) > FLOWS_NAMED_MAX else [queue.id for queue in queues]
        async for taken in gently(await node.queue_flows(timeout_seconds, wanted)):
            known = flows.get(taken.queue)
            flows[taken.queue] = [a + b for a, b in zip(known, taken.flow, strict=False)] if known else [*taken.flow]

    async def ask_consumers() -> None:
        async for consumer in gently(await node.consumers(timeout_seconds)):
            if consumer.node_id:
                chosen[consumer.node_id, consumer.number] = consumer

    async def ask_connections() -> None:
        owners.update({connection.id: connection for connection in await node.connections(timeout_seconds)})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_flows)
        if not consumers and any(counts.get(queue.id, NO_COUNTS).chosen_node for queue in queues):
            nursery.start_soon(ask_consumers)
        if any(queue.exclusive for queue in queues):
            nursery.start_soon(ask_connections)
    return Beside(flows, chosen, owners)


def queue_document(queue: QueueDefinition, counts: QueueCounts, asked: Asked, more: Beside) -> Document:
    """What the catalog says, and what leaders and clients' nodes have counted."""
    report = asked.node.queue_report(queue, counts)
    vhost = asked.catalog.vhosts.get(queue.vhost)
    policy = vhost.policies.matching_queue(queue, operator=False) if vhost else None
    operator_policy = vhost.policies.matching_queue(queue, operator=True) if vhost else None
    chosen = more.chosen.get((counts.chosen_node, counts.chosen_consumer))
    alone = "x-single-active-consumer" in queue.arguments.values
    active_tag = chosen.consumer_tag if chosen is not None and alone else None
    document = {
        **shallow(report),
        **_defined(queue),
        "node": report.leader,
        "state": "running" if report.leader else "down",
        "policy": policy.name if policy else None,
        "operator_policy": operator_policy.name if operator_policy else None,
        "effective_policy_definition": vhost.policies.queue_policy(queue) if vhost else {},
        "single_active_consumer_tag": active_tag,
        "exclusive_consumer_tag": chosen.consumer_tag if chosen is not None and not alone else None,
        **queue_flow(asked, report, counts, more.flows.get(queue.id, ()), queue.id),
        **asked.levels("lengths", ("depth", queue.id), depths(counts.ready, counts.unacked, counts.messages)),
        **queue_weight(counts, replicated=queue.replicated),
        **queue_rest(counts, time.time()),
    }
    if queue.type == "quorum":
        document["single_active_consumer_ctag"] = active_tag
    if queue.exclusive and (owner := more.owners.get(queue.owner)) is not None:
        document["owner_pid_details"] = {"name": owner.name, **peer_of(owner.name)}
    return document


def _defined(queue: QueueDefinition) -> Document:
    return {
        "name": queue.name,
        "vhost": queue.vhost,
        "durable": queue.durable,
        "auto_delete": queue.auto_delete,
        "exclusive": queue.exclusive,
        "arguments": to_json(queue.arguments.values),
        "type": queue.type,
    }


def _plain(queue: QueueDefinition, asked: Asked, counts: QueueCounts | None) -> Document:
    """For `?disable_stats=true`; with counts for `?enable_queue_totals=true`."""
    report = asked.node.queue_report(queue, NO_COUNTS)
    placed = {"leader": report.leader, "members": report.members, "online": report.online} if report.members else {}
    held = {} if counts is None else depths(counts.ready, counts.unacked, counts.messages)
    return {
        **_defined(queue),
        "node": report.leader,
        "state": "running" if report.leader else "down",
        **placed,
        **held,
    }


def read_queue(vhost: str, name: str, document: Document, home: tuple[int, int]) -> c.DeclareQueue:
    """`home` is the node, and its life, that holds it if it is not durable. Raises BadField."""
    return c.DeclareQueue(
        vhost,
        short_name(name, "a queue"),
        field(document, "durable", bool, True),
        False,
        field(document, "auto_delete", bool, False),
        to_table(field(document, "arguments", dict, {})),
        "",
        *home,
    )


def known_queue(vhost: Vhost, name: str) -> QueueDefinition:
    """Raises HTTPException 404."""
    queue = vhost.queues.get(name)
    if queue is None:
        raise HTTPException(404, f"no queue '{name}' in vhost '{vhost.name}'")
    return queue


async def queues(asked: Asked) -> Response:
    """Only what is shown is described; and only that is counted, if the order does not depend on counts."""
    vhosts = [asked.vhost()] if "vhost" in asked.request.path_params else list(asked.caller.vhosts())
    wish = wish_of(asked)
    node, timeout_seconds = asked.node, asked.timeout_seconds()
    counts: Mapping[int, QueueCounts] = {}

    plain, totals = asked.flag("disable_stats"), asked.flag("enable_queue_totals")

    async def describer(queues: Sequence[QueueDefinition]) -> Callable[[QueueDefinition], Document]:
        if plain:
            return lambda queue: _plain(queue, asked, counts.get(queue.id, NO_COUNTS) if totals else None)
        more = await beside(asked, queues, counts)
        return lambda queue: queue_document(queue, counts.get(queue.id, NO_COUNTS), asked, more)

    every: list[QueueDefinition] = []
    for vhost in vhosts:
        every += await gently_sorted(list(vhost.queues.values()), attrgetter("name"))
    if not wish.page or (wish.sort and wish.sort not in _BY_DEFINITION and wish.sort not in _BY_COUNTS):
        counts = {} if plain and not totals else await node.queue_counts(timeout_seconds)
        return await listed(asked, every, await describer(every), in_pages=True)
    kept = [queue async for queue in gently(every) if wish.matches(queue.name)] if wish.name else every
    if wish.sort in _BY_DEFINITION:
        kept = await gently_sorted(kept, _BY_DEFINITION[wish.sort], reverse=wish.reverse)
    elif wish.sort:
        counts, by = await node.queue_counts(timeout_seconds), _BY_COUNTS[wish.sort]
        kept = await gently_sorted(kept, lambda q: by(counts.get(q.id, NO_COUNTS)), reverse=wish.reverse)
    shown = wish.part(kept)
    if not counts and (totals or not plain):
        counts = await node.queue_counts(timeout_seconds, [queue.id for queue in shown])
    describe = await describer(shown)
    return await paged(wish, len(every), len(kept), [describe(queue) for queue in shown])


async def queue(asked: Asked) -> Response:
    """Which messages went which way is not kept: `incoming` and `deliveries` are empty, as RabbitMQ's are with basic
    rates."""
    queue, node = known_queue(asked.vhost(), asked.part("name")), asked.node
    found_counts, consumers = await together(
        node.queue_counts(asked.timeout_seconds(), [queue.id]), node.consumers(asked.timeout_seconds())
    )
    counts = found_counts.get(queue.id)
    if counts is None:
        # Its leader may be about to be found, which is worth waiting for here.
        counts = await node.operations.counts(queue)
    every = [consumer for consumer in consumers if (consumer.vhost, consumer.queue) == (queue.vhost, queue.name)]
    details = [consumer_document(consumer, queue, counts) for consumer in every]
    document = queue_document(queue, counts, asked, await beside(asked, [queue], {queue.id: counts}, every))
    return found(asked, document | {"consumer_details": details, "deliveries": [], "incoming": []})


async def put(asked: Asked) -> Response:
    """`{"durable", "auto_delete", "arguments"}`."""
    vhost, name = asked.vhost_to_change(), asked.part("name")
    command = read_queue(vhost.name, name, await asked.body(), asked.node.operations.home)
    existing = asked.catalog.checks.declare_queue(asked.caller.name, command)
    if existing is None:
        await asked.node.operations.submit(command)
    return changed(new=existing is None)


async def delete(asked: Asked) -> Response:
    """`?if-empty=true`, `?if-unused=true`."""
    vhost = asked.vhost_to_change()
    name = known_queue(vhost, asked.part("name")).name
    find = partial(asked.catalog.checks.delete_queue, asked.caller.remover, vhost.name, name, NO_CONNECTION)
    await asked.node.operations.delete_queue(find, if_unused=asked.flag("if-unused"), if_empty=asked.flag("if-empty"))
    return nothing()


def _reader(asked: Asked) -> Callable[[], QueueDefinition]:
    """The queue in the path, each time. Raises HTTPException 404, BrokerError 403, 405."""
    vhost, name, check = asked.vhost_to_change(), asked.part("name"), asked.catalog.checks.read_queue
    return lambda: check(asked.caller.remover, vhost.name, known_queue(vhost, name).name, NO_CONNECTION)


async def purge(asked: Asked) -> Response:
    await asked.node.operations.purge(_reader(asked))
    return nothing()


async def retry(asked: Asked) -> Response:
    """Messages that came back too often are delivered again. `{"retried"}` says how many there were."""
    return found(asked, {"retried": await asked.node.operations.retry(_reader(asked))})


ENDPOINTS = (
    Endpoint("GET", "/api/queues", MANAGEMENT, queues),
    Endpoint("GET", "/api/queues/{vhost}", MANAGEMENT, queues),
    Endpoint("GET", "/api/queues/{vhost}/{name}", MANAGEMENT, queue),
    Endpoint("PUT", "/api/queues/{vhost}/{name}", MANAGEMENT, put),
    Endpoint("DELETE", "/api/queues/{vhost}/{name}", MANAGEMENT, delete),
    Endpoint("DELETE", "/api/queues/{vhost}/{name}/contents", MANAGEMENT, purge),
    Endpoint("POST", "/api/queues/{vhost}/{name}/retry", MANAGEMENT, retry),
)
