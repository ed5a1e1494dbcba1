"""What nodes have counted, in RabbitMQ's words and as its clients read it.

Law: a sum over nodes has what those have counted that answer. A node of an older version, which does not count
everything, is counted with what it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from cluster.node.admin.api.asked import Asked
from cluster.node.admin.api.fields import Document
from cluster.node.admin.report import ConnectionReport, NodeReport, QueueCounts, QueueReport
from cluster.node.amqp.flow import FLOW_WORDS

_DELIVERIES: Final = ("deliver", "deliver_no_ack", "get", "get_no_ack")
_TAKEN: Final = FLOW_WORDS[FLOW_WORDS.index("deliver") :]
"""What is counted of a queue."""
_IDLE_MS: Final = 1000
"""A queue with which nothing happened for so long is idle."""


def summed(rows: Iterable[Sequence[int]]) -> dict[str, int]:
    """`message_stats` of `NodeReport.flow` rows."""
    sums = [0] * len(FLOW_WORDS)
    for row in rows:
        sums = [a + b for a, b in zip(sums, [*row, *[0] * len(sums)], strict=False)]
    counts = dict(zip(FLOW_WORDS, sums, strict=True))
    return counts | {"deliver_get": sum([counts[word] for word in _DELIVERIES])}


def flow_row(report: NodeReport) -> Sequence[int]:
    """Of one that has no row, from what it has."""
    older = {
        "publish": report.published_total,
        "confirm": report.confirmed_total,
        "return_unroutable": report.returned_total,
        "deliver": report.delivered_total,
        "redeliver": report.redelivered_total,
        "ack": report.acknowledged_total,
    }
    return report.flow or [older.get(word, 0) for word in FLOW_WORDS]


def shallow(report: QueueReport | ConnectionReport) -> Document:
    """Its fields, as they are: `dataclasses.asdict` copies them, which takes longer than all the rest."""
    return {field.name: getattr(report, field.name) for field in fields(report)}


def time_text(unix_seconds: float) -> str:
    """`"2026-11-21T17:25:48.449+00:00"`."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds")


def peer_of(connection: str) -> Document:
    """Where a connection comes from; its name begins with it."""
    host, _, port = connection.partition(" -> ")[0].rpartition(":")
    return {"peer_host": host, "peer_port": int(port) if port.isdecimal() else 0}


def queue_flow(asked: Asked, report: QueueReport, counts: QueueCounts, taken: Sequence[int], queue: int) -> Document:
    """`message_stats`, and how far its consumers could take at once what came: 1.0 always, 0.0 never."""
    flow = summed([taken])
    rated = asked.counted(
        "msg_rates",
        ("queue", queue),
        {
            "publish": report.enqueued_total,
            "deliver_get": flow["deliver_get"],
            **{word: flow[word] for word in _TAKEN},
            "able": counts.able_ms,
            "clock": counts.clock_ms,
        },
    )
    able, clock = [rated.pop(f"{word}_details")["rate"] for word in ("able", "clock")]
    del rated["able"], rated["clock"]
    share = able / clock if clock else float(counts.is_able)
    capacity = round(min(1.0, share), 4) if counts.consumers else 0
    return {"message_stats": rated, "consumer_capacity": capacity, "consumer_utilisation": capacity}


def queue_weight(counts: QueueCounts, *, replicated: bool) -> Document:
    """What its messages weigh. All of a queue that is not replicated is in memory, all of another one in the log."""
    count = counts.messages
    size = counts.ready_bytes + counts.unacked_bytes + counts.parked_bytes
    ready, unacked = (
        (counts.ready_in_memory, counts.unacked_in_memory) if replicated else (counts.ready, counts.unacked)
    )
    here = min(size, counts.bytes_in_memory) if replicated else size
    return {
        "message_bytes": size,
        "message_bytes_ready": counts.ready_bytes,
        "message_bytes_unacknowledged": counts.unacked_bytes,
        "message_bytes_persistent": size if replicated else 0,
        "message_bytes_ram": here,
        "message_bytes_paged_out": size - here,
        "messages_persistent": count if replicated else 0,
        "messages_ram": ready + unacked,
        "messages_ready_ram": ready,
        "messages_unacknowledged_ram": unacked,
        "messages_paged_out": count - ready - unacked,
        "memory": counts.memory_bytes,
        "head_message_timestamp": counts.head_timestamp or None,
    }


def queue_rest(counts: QueueCounts, now: float) -> dict[str, Any]:
    """`idle_since`, for one with which nothing happens. `now` is Unix seconds."""
    if not counts.stirred_ms or now * 1000 - counts.stirred_ms < _IDLE_MS:
        return {}
    return {"idle_since": time_text(counts.stirred_ms / 1000)}
