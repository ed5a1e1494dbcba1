"""Queues of two shards whose messages die, the queues where they are dead, and the messages.

Law: a message has a number, which its record says wherever it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.amqp.properties import BasicProperties, decode_header, encode_header
from cluster.amqp.record import Record
from cluster.amqp.wire import encode_shortstr
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.settings import Overflow, QueueSettings
from cluster.broker.shard.surroundings import Target

GRAVES = {1: QueueId(91), 2: QueueId(92)}
"""Shard -> a queue that nothing leaves."""
TTL, LIMITED, LONG, REJECTING, OWN, PARKING = (QueueId(n) for n in range(11, 17))
FAR = QueueId(21)
SHARD_OF = {1: 1, 2: 2} | dict.fromkeys((TTL, LIMITED, LONG, REJECTING, OWN, PARKING, 91), 1) | {FAR: 2, 92: 2}
SETTINGS: dict[QueueId, QueueSettings] = {
    TTL: QueueSettings("ttl", message_ttl_ms=20, dead_letter_exchange="both"),
    LIMITED: QueueSettings("limited", delivery_limit=2, is_quorum=True, dead_letter_exchange="far"),
    LONG: QueueSettings("long", max_length=3, max_priority=3, dead_letter_exchange="far"),
    REJECTING: QueueSettings(
        "rejecting", max_length=2, overflow=Overflow.REJECT_DEAD_LETTER, dead_letter_exchange="both"
    ),
    OWN: QueueSettings("own", message_ttl_ms=30, dead_letter_exchange="near"),
    PARKING: QueueSettings("parking", delivery_limit=1, is_quorum=True),
    FAR: QueueSettings("far", message_ttl_ms=15, dead_letter_exchange="near"),
}
ROUTES = {"both": (91, 92), "far": (92,), "near": (91,)}
MessageId = int


class Catalog:
    """`Surroundings`."""

    is_current = True
    knows_dooms = True
    has_room: bool = True
    answered = 0

    def ask(self) -> int:
        return 0

    def settings(self, queue: QueueId) -> QueueSettings:
        return SETTINGS.get(queue, QueueSettings())

    def dead_letter_targets(
        self, queue: QueueId, exchange: str, routing_keys: Sequence[str], properties: BasicProperties
    ) -> Sequence[Target]:
        return [Target(SHARD_OF[n], QueueId(n), f"grave-{n}", has_priorities=False) for n in ROUTES[exchange]]


def make_record(message: MessageId) -> bytes:
    envelope = encode_shortstr("") + encode_shortstr("key")
    body = b"%d" % message
    return Record(envelope, encode_header(len(body), BasicProperties()), body).encode()


def message_of(record: bytes) -> MessageId:
    return int(Record.decode(record).body)


def deaths_of(record: bytes) -> list[tuple[object, object, object]]:
    headers = decode_header(Record.decode(record).header).properties.headers or {}
    events = headers.get("x-death", [])
    assert isinstance(events, list)
    return [(e["queue"], e["reason"], e["count"]) for e in events if isinstance(e, dict)]
