"""What the clients of a run work with: the queues, who publishes where, who consumes how.

Law: everything durable and replicated; each kind of promise has a queue that is about it. It follows from the rate and
the seed, but for the two pairs of queues for transactions, which depend on the shards that the broker gives them.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

from pika.exchange_type import ExchangeType

from chaos.clients.workload import Address, QueuePlan, Route, Workload
from chaos.history import Queue
from chaos.local_cluster import wait_until
from chaos.look import ask
from chaos.machine.grounds import Grounds

ALL = (0, 1, 2)
FANOUT = "chaos-fan"
TTL_MS = 400
BRIEF_PREFETCH_COUNT, BRIEF_SECONDS = 2, 0.3
"""Of the consumer of what is brief: too slow for all of it, so that the rest dies of age while some are taken."""
DELIVERY_LIMIT = 1000
"""High enough that no message reaches it: there is nothing to be seen of one that is parked."""
DEATH_LIMIT = 2
"""Where those that reach it are kept among the dead."""
CANDIDATES = 9
DEEP_BODY_BYTES, BACKLOG_BODY_BYTES = 4096, 128
"""Of what goes to the deep queue at its rate, and when it is filled beforehand."""
DEEP = "deep"
CLAIMS = (
    "answers",
    "lost",
    "phantom",
    "settled",
    "flags",
    "once",
    "counts",
    "kept",
    "order",
    "expiry",
    "definitions",
    "single active",
    "transactions",
    "dead letters",
    "availability",
    "connections",
    "recovery",
    "drained",
    "replicas",
    "disk",
)
"""What every run checks."""


def _dead_letters_to(queue: str, **more: Any) -> dict[str, Any]:
    return {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue, **more}


def queue_plans() -> tuple[QueuePlan, ...]:
    limited = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
    return (
        QueuePlan(traits=Queue(t=0, name="plain-0"), consumers=ALL, requeue=0.02),
        QueuePlan(traits=Queue(t=0, name="plain-1"), arguments={"x-queue-type": "quorum"}, consumers=(1,)),
        QueuePlan(traits=Queue(t=0, name="plain-2"), consumers=(0, 2), held_seconds=0.5, cancel_seconds=20.0),
        QueuePlan(traits=Queue(t=0, name="limited", counted=True), arguments=limited, consumers=ALL, requeue=0.3),
        QueuePlan(
            traits=Queue(t=0, name="mortal", dead_letters="graves"),
            arguments=_dead_letters_to("graves"),
            consumers=ALL,
            requeue=0.1,
            reject=0.3,
        ),
        QueuePlan(traits=Queue(t=0, name="graves"), consumers=(0, 1)),
        QueuePlan(
            traits=Queue(t=0, name="brief", dead_letters="old-graves", expires=True, lives_seconds=TTL_MS / 1000),
            arguments=_dead_letters_to("old-graves", **{"x-message-ttl": TTL_MS}),
            consumers=(1,),
            held_seconds=BRIEF_SECONDS,
            prefetch_count=BRIEF_PREFETCH_COUNT,
        ),
        QueuePlan(traits=Queue(t=0, name="old-graves"), consumers=(2,)),
        QueuePlan(
            traits=Queue(t=0, name="weary", counted=True, delivery_limit=DEATH_LIMIT, dead_letters="weary-graves"),
            arguments=_dead_letters_to("weary-graves", **{**limited, "x-delivery-limit": DEATH_LIMIT}),
            consumers=(0, 2),
            requeue=0.8,
        ),
        QueuePlan(traits=Queue(t=0, name="weary-graves"), consumers=(1,)),
        QueuePlan(
            traits=Queue(t=0, name="single", single_active=True),
            arguments={"x-single-active-consumer": True},
            consumers=ALL,
            cancel_seconds=8.0,
        ),
        QueuePlan(
            traits=Queue(t=0, name="once", deduplicates=True),
            arguments={"x-message-deduplication": True},
            consumers=ALL,
        ),
        QueuePlan(traits=Queue(t=0, name=DEEP), consumers=ALL, requeue=0.02, is_deep=True),
        QueuePlan(traits=Queue(t=0, name="async-0"), consumers=(0, 1), client="asynchronous"),
        QueuePlan(traits=Queue(t=0, name="async-1"), consumers=(2,), client="asynchronous"),
    )


def routes(rate: float, pairs: dict[bool, tuple[str, str]], backlog: int) -> tuple[Route, ...]:
    """`rate`: messages a second of pika's, over all nodes. `pairs`: in one shard? -> queues of transactions. `backlog`:
    messages that the deep queue has before anything happens."""
    shares = {"plain-0": 0.25, "plain-1": 0.2, "plain-2": 0.1, "limited": 0.1, "mortal": 0.1, "brief": 0.05}
    shares["single"], shares["weary"] = 0.08, 0.02
    steady = [
        Route(exchange="", routing_key=queue, queues=(queue,), nodes=ALL, rate=rate * share / len(ALL))
        for queue, share in shares.items()
    ]
    once = Route(exchange="", routing_key="once", queues=("once",), nodes=ALL, rate=rate * 0.02, is_deduplicated=True)
    fan = Route(exchange=FANOUT, routing_key="", queues=("plain-0", "plain-1"), nodes=(0, 1), rate=rate * 0.05)
    deep = Route(
        exchange="",
        routing_key=DEEP,
        queues=(DEEP,),
        nodes=(0, 2),
        rate=rate * 0.05,
        body_bytes=BACKLOG_BODY_BYTES if backlog else DEEP_BODY_BYTES,
        backlog=backlog,
    )
    asynchronous = [
        Route(exchange="", routing_key=queue, queues=(queue,), nodes=nodes, rate=10.0, client="asynchronous")
        for queue, nodes in (("async-0", (2,)), ("async-1", (0, 1)))
    ]
    transactions = [
        Route(
            exchange=_exchange(together),
            routing_key="",
            queues=queues,
            nodes=(node,),
            rate=3.0,
            client="asynchronous",
            in_transactions=True,
        )
        for together, queues in pairs.items()
        for node in ALL[:2]
    ]
    return (*steady, once, fan, deep, *asynchronous, *transactions)


def _exchange(together: bool) -> str:
    return f"chaos-tx-{'together' if together else 'apart'}"


def declare(grounds: Grounds, directory: Path, *, rate: float, seed: int, backlog: int) -> Workload:
    """Declare everything through the first node. Returns what the clients are told."""
    plans = queue_plans()
    connection = grounds.connect(0)
    channel = connection.channel()
    for plan in plans:
        channel.queue_declare(plan.name, durable=True, arguments=plan.arguments)
    candidates = [f"tx-{number}" for number in range(CANDIDATES)]
    for name in candidates:
        channel.queue_declare(name, durable=True)
    pairs = _pairs(grounds, candidates)
    for name in candidates:
        if not any(name in pair for pair in pairs.values()):
            channel.queue_delete(name)
    bindings = {FANOUT: ("plain-0", "plain-1"), **{_exchange(together): pair for together, pair in pairs.items()}}
    for exchange, queues in bindings.items():
        channel.exchange_declare(exchange, ExchangeType("fanout"), durable=True)
        for queue in queues:
            channel.queue_bind(queue, exchange)
    connection.close()
    of_transactions = [
        QueuePlan(traits=Queue(t=0, name=name), consumers=(1, 2), client="asynchronous")
        for name in dict.fromkeys(name for pair in pairs.values() for name in pair)
    ]
    return Workload(
        directory=str(directory),
        seed=seed,
        nodes=tuple([Address(node.host, node.amqp_port) for node in grounds.nodes]),
        queues=(*plans, *of_transactions),
        routes=routes(rate, pairs, backlog),
    )


def _pairs(grounds: Grounds, names: list[str]) -> dict[bool, tuple[str, str]]:
    """In one shard? -> two of these queues. AssertionError when there are no such two."""
    groups: dict[str, int] = {}

    def are_placed() -> bool:
        groups.update({row["name"]: row["group"] for row in ask(grounds, "/api/queues") or []})
        return all(name in groups for name in names)

    wait_until(are_placed, "the queues have a shard")
    pairs: dict[bool, tuple[str, str]] = {}
    for a, b in combinations(names, 2):
        pairs.setdefault(groups[a] == groups[b], (a, b))
    assert len(pairs) == 2, f"{len(names)} queues, and no two in one shard, or none in another: {groups}"
    return pairs


def sweep(grounds: Grounds, queues: tuple[str, ...]) -> dict[str, int]:
    """What the broker counts in each queue, ready or held."""
    rows = {row["name"]: row for row in ask(grounds, "/api/queues") or []}
    return {
        queue: int(rows[queue]["messages_ready"]) + int(rows[queue]["messages_unacked"])
        for queue in queues
        if queue in rows
    }
