"""From a run of basic.publish to records in shard streams.

Law: the payload of a basic.publish method is the key of the route cache, which lives as long as the catalog stands
still; routing looks at a message's header only where the exchange type or the header's own properties ask for it.
Header and body are never copied but into the batch.
"""

from __future__ import annotations

from cluster.amqp.record import RECORD_HEAD
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.intervals import IntervalSet
from cluster.broker.shard.stream import PublishSink, ShardStream
from cluster.node.amqp.flow import Entrance

ROUTES_MAX = 4096
"""Cached routes of a connection; when full the cache is emptied."""

SPECIAL_HIGH = 0x23
"""Bits of a header's first flag octet that need a look: headers (CC, BCC), reply-to, expiration."""
SPECIAL_LOW = 0x11
"""Of the second: user-id, and the bit that says that more flags follow."""


Targets = list[tuple[ShardStream, tuple[QueueId, ...]]]
"""Per shard stream the queues in it."""


class Route:
    """Where publishes with one method payload go.

    targets   empty when nothing is bound
    static    False where the message's headers decide (then it is not cached)
    direct    True for an address of direct reply-to, which the routing key is
    prioritized, keyed  a queue has priorities, or it or the exchange deduplicates
    memory    what the exchange asks of queues for a key (`pack_memory`), None where it does not deduplicate
    refusable  a queue may refuse publishes
    delays    the exchange keeps messages until their x-delay is over
    entrance  counts what goes this way
    """

    __slots__ = (
        "_envelope",
        "_prefixes",
        "delays",
        "direct",
        "entrance",
        "exchange",
        "keyed",
        "mandatory",
        "memory",
        "prioritized",
        "refusable",
        "routing_key",
        "static",
        "targets",
    )

    def __init__(
        self,
        method: bytes,
        exchange: str,
        routing_key: str,
        targets: Targets,
        entrance: Entrance,
        *,
        mandatory: bool,
        static: bool,
        direct: bool = False,
        prioritized: bool = False,
        keyed: bool = False,
        refusable: bool = False,
        delays: bool = False,
        memory: int | None = None,
    ) -> None:
        self.direct = direct
        self.prioritized = prioritized
        self.keyed = keyed
        self.refusable = refusable
        self.delays = delays
        self.memory = memory
        self.exchange = exchange
        self.routing_key = routing_key
        self.targets = targets
        self.entrance = entrance
        self.mandatory = mandatory
        self.static = static
        self._envelope = method[6:-1]
        self._prefixes: dict[int, bytes] = {}

    def prefix(self, header_length: int) -> bytes:
        """What stands before the header in a record."""
        prefix = self._prefixes.get(header_length)
        if prefix is None:
            if len(self._prefixes) >= ROUTES_MAX:
                self._prefixes.clear()
            prefix = RECORD_HEAD.pack(len(self._envelope), header_length) + self._envelope
            self._prefixes[header_length] = prefix
        return prefix


class Countdown:
    """Tells a sink once all shards of a publish have answered: refused is what one of them refused.

    For `count` publishes; a shard may answer in parts.
    """

    __slots__ = ("_left", "_refused", "_sink", "_whole")

    def __init__(self, sink: PublishSink, shards: int, first: int, count: int, size: int) -> None:
        self._sink = sink
        self._whole = (first, count, size)
        self._left = shards * count
        self._refused = IntervalSet()

    def published(self, first: int, count: int, size: int) -> None:
        self._left -= count
        if not self._left:
            self._tell()

    def refused(self, first: int, count: int, size: int) -> None:
        self._refused.add(first, first + count)
        self.published(first, count, size)

    def _tell(self) -> None:
        """The whole size is told with the first part."""
        position, count, size = self._whole
        end = position + count
        for a, b in [*self._refused, (end, end)]:
            if position < a:
                self._sink.published(position, a - position, size)
                size = 0
            if a < b:
                self._sink.refused(a, b - a, size)
                size = 0
            position = b
