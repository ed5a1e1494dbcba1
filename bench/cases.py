"""What is measured beside RabbitMQ: the registry of cases.

Law: a case is the same load for both systems, as arguments of amqpload. Its figure is one key of amqpload's answer;
the processor time, the percentiles and the spread are reported beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

LEADER, FOLLOWER, ALL = "leader", "follower", "all"
FANOUT_QUEUES = 100


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    arguments   for amqpload; `filling` is run before it, unmeasured, with the same queue
    at          where the clients connect
    metric      key of amqpload's answer; more is better, but of `broker_cores`
    fanout      queues to bind to a fanout exchange that is published to; 0: the default exchange
    quick       part of `make bench-quick`
    """

    name: str
    arguments: str
    at: str = LEADER
    metric: str = "consume_rate"
    queue_type: str = "quorum"
    filling: str = ""
    fanout: int = 0
    quick: bool = False

    @property
    def makes_queue(self) -> bool:
        """Does the load need the one replicated queue of known leader?"""
        return self.queue_type == "quorum" and self.at != ALL and "churn" not in self.arguments


SIZES = {16: (500, 300), 256: (500, 300), 1024: (500, 300), 16384: (200, 100), 1 << 20: (20, 10)}
"""Bytes of a body -> (confirm window, prefetch count)."""
RATES = (250, 500, 1000, 2000, 4000, 8000)
"""Offered messages a second, for percentiles under rising load."""


def size_case(size: int) -> str:
    """Name of the throughput case for bodies of `size` bytes."""
    return f"1 queue, {size} B, on the leader"


def rate_case(rate: int) -> str:
    """Name of the case with a fixed rate of publishes."""
    return f"{rate} messages/s, fixed rate"


CASES = [
    *(
        Case(size_case(size), f"--size {size} --window {window} --prefetch {prefetch}", quick=size == 256)
        for size, (window, prefetch) in SIZES.items()
    ),
    Case("1 queue, 256 B, on a follower", "--window 500 --prefetch 300", FOLLOWER, quick=True),
    Case("10 queues over all nodes, window 50", "--queues 10 --pubs 10 --cons 10 --window 50 --prefetch 50", ALL),
    Case("window 1", "--window 1 --prefetch 1", quick=True),
    *(
        Case(rate_case(rate), f"--rate {rate} --window 2000 --prefetch 300", quick=rate == 1000, metric="broker_cores")
        for rate in RATES
    ),
    Case("50 connections of 20 messages/s", "--pubs 50 --rate 1000 --window 100 --prefetch 300", ALL, "broker_cores"),
    Case("publish only", "--mode pub --window 500", metric="publish_rate"),
    Case(
        "drain only",
        "--mode drain --count 60000 --prefetch 300",
        filling="--mode pub --count 60000 --window 500",
    ),
    Case(f"fan-out to {FANOUT_QUEUES} queues", "--mode pub --window 100", metric="publish_rate", fanout=FANOUT_QUEUES),
    Case("queue declare and delete, 4 clients", "--mode queue-churn --workers 4", ALL, "cycles_per_s"),
    Case("connections, 1 client", "--mode conn-churn --workers 1", ALL, "cycles_per_s"),
    Case("connections, 12 clients", "--mode conn-churn --workers 12", ALL, "cycles_per_s"),
    Case("channels, 1 client", "--mode chan-churn --workers 1", ALL, "cycles_per_s"),
    Case("channels, 12 clients", "--mode chan-churn --workers 12", ALL, "cycles_per_s"),
    Case(
        "transient, auto-ack, no confirms",
        "--non-durable --transient --auto-ack --no-confirm --prefetch 0",
        queue_type="none",
    ),
]
