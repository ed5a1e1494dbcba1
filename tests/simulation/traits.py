"""The queues of a world with traits: one for each kind of promise, and how it is used.

Law: every queue is durable; what is promised of it stands in its `traits`, which the checker reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from chaos.history import Queue
from cluster.amqp.field_table import FieldTable

TTL_MS = 400
EXPIRATION_MS = 300
LENGTH_MAX = 8
PRIORITIES = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """`requeue`, `reject`: shares of the answers. `answers_a_second`: how often a consumer says something. `streams`:
    how many channels' worth of order each publisher has in it. `brief_streams`: so many of them publish what expires
    after EXPIRATION_MS. `weight`: share of the publishes."""

    traits: Queue
    arguments: FieldTable = field(default_factory=dict)
    consumers: int = 2
    requeue: float = 0.05
    reject: float = 0.0
    cancels: bool = False
    exclusive: bool = False
    no_ack: bool = False
    answers_a_second: float = 10.0
    streams: int = 1
    brief_streams: int = 0
    weight: float = 1.0

    @property
    def name(self) -> str:
        return self.traits.name


def _dies_to(queue: str, **more: object) -> FieldTable:
    arguments: FieldTable = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
    arguments.update(more)  # type: ignore[arg-type]
    return arguments


PLANS = (
    Plan(
        Queue(t=0, name="limited", counted=True),
        {"x-queue-type": "quorum", "x-delivery-limit": 1000},
        consumers=3,
        requeue=0.3,
    ),
    Plan(Queue(t=0, name="mortal", dead_letters="graves"), _dies_to("graves"), requeue=0.1, reject=0.3),
    Plan(Queue(t=0, name="graves"), consumers=1, weight=0),
    Plan(
        Queue(t=0, name="brief", dead_letters="old-graves", expires=True, lives_seconds=TTL_MS / 1000),
        _dies_to("old-graves", **{"x-message-ttl": TTL_MS}),
        consumers=0,
        weight=0.5,
    ),
    Plan(
        Queue(t=0, name="mixed", dead_letters="mixed-graves", expires=True),
        _dies_to("mixed-graves"),
        consumers=1,
        answers_a_second=1.5,
        streams=2,
        brief_streams=1,
        weight=0.5,
    ),
    Plan(Queue(t=0, name="old-graves"), consumers=1, weight=0),
    Plan(Queue(t=0, name="mixed-graves"), consumers=1, weight=0),
    Plan(
        Queue(t=0, name="spilling", dead_letters="spilled", overflows=True),
        _dies_to("spilled", **{"x-max-length": LENGTH_MAX}),
        consumers=1,
    ),
    Plan(Queue(t=0, name="spilled"), consumers=1, weight=0),
    Plan(Queue(t=0, name="strict"), {"x-max-length": LENGTH_MAX, "x-overflow": "reject-publish"}, consumers=1),
    Plan(Queue(t=0, name="single", single_active=True), {"x-single-active-consumer": True}, consumers=3, cancels=True),
    Plan(Queue(t=0, name="alone", single_active=True), exclusive=True, consumers=2, cancels=True, weight=0.5),
    Plan(Queue(t=0, name="ranked"), {"x-max-priority": PRIORITIES}, streams=PRIORITIES),
    Plan(Queue(t=0, name="glanced"), consumers=1, no_ack=True, weight=0.5),
)
STRICT = next(plan for plan in PLANS if plan.name == "strict")
BY_NAME = {plan.name: plan for plan in PLANS}
TOGETHER = ("limited", "ranked")
"""The queues that transactions publish to, each message to both."""
TOGETHER_EXCHANGE = "together"
