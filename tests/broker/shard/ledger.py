"""What became of every message that was published to queues whose messages die.

Law: a publish is answered once. At the end every stored message has left its queue once, by an ack or into each of the
queues that its dead letters go to, once each; but for what is parked, or waits where nobody consumes. What was refused
is among the dead of the queue that refused it.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.broker.shard.entry import HIDDEN_QUEUES, QueueId
from tests.broker.shard.graves import GRAVES, PARKING, REJECTING, ROUTES, SETTINGS, MessageId, deaths_of, message_of


class Ledger:
    """What consumers, publishers and the shards' logs say."""

    def __init__(self) -> None:
        self._deliveries: dict[tuple[int, int], int] = {}
        """(queue, seq) -> how often a consumer got it."""
        self._record_at: dict[tuple[int, int], bytes] = {}
        self._left: dict[tuple[int, int], bool] = {}
        """(queue, seq) -> whether a home node had it settled; else the leader."""
        self._confirmed: dict[MessageId, bool] = {}

    def delivered(self, queue: QueueId, seq: int, redelivered: int) -> None:
        """`redelivered` as the consumer was told."""
        place = (queue, seq)
        limit = SETTINGS[queue].delivery_limit
        if limit is not None:
            before = self._deliveries.get(place, 0)
            assert redelivered - 1 <= limit, "delivered beyond the limit"
            assert max(0, redelivered - 1) >= before, f"{place} came {before} times before, told {redelivered}"
        self._deliveries[place] = self._deliveries.get(place, 0) + 1

    def committed(self, enqueued: Sequence[tuple[int, int, bytes]], settled: Sequence[tuple[int, int, bool]]) -> None:
        for queue, seq, record in enqueued:
            assert (queue, seq) not in self._record_at
            self._record_at[(queue, seq)] = record
        for queue, seq, by_home in settled:
            assert (queue, seq) not in self._left
            self._left[(queue, seq)] = by_home

    def answered(self, first: int, count: int, *, stored: bool) -> None:
        for message in range(first, first + count):
            assert message not in self._confirmed, f"message {message} is answered twice"
            self._confirmed[message] = stored

    def check_end(self, messages: int) -> None:
        """So many were published, and nothing is under way any more."""
        copies: dict[tuple[int, MessageId], int] = {}
        for (queue, _), record in self._record_at.items():
            if queue < HIDDEN_QUEUES:
                copies[(queue, message_of(record))] = copies.get((queue, message_of(record)), 0) + 1
        for (queue, message), count in copies.items():
            assert count == 1, f"message {message} came {count} times into queue {queue}"
        assert set(self._confirmed) == set(range(messages)), "a publish was never answered"
        places = [(place, record) for place, record in self._record_at.items() if place[0] < HIDDEN_QUEUES]
        at = {(queue, message_of(record)): seq for (queue, seq), record in places}
        for message, stored in self._confirmed.items():
            queues = [queue for queue in SETTINGS if (queue, message) in at]
            if not stored:
                assert not queues
                self._check_grave(message, REJECTING, "maxlen")
                continue
            (queue,) = queues
            place = (queue, at[(queue, message)])
            if place not in self._left:
                assert queue in (PARKING, REJECTING)
                dead = False
            else:
                dead = not self._left[place] and queue != PARKING
            if dead:
                self._check_grave(message, queue, None)
            else:
                assert not [g for g in GRAVES.values() if (g, message) in copies], f"message {message} lives twice"

    def _check_grave(self, message: MessageId, queue: QueueId, reason: str | None) -> None:
        settings = SETTINGS[queue]
        assert settings.dead_letter_exchange is not None
        expected = ROUTES[settings.dead_letter_exchange]
        found = {
            q: deaths_of(r)
            for (q, _), r in self._record_at.items()
            if q in GRAVES.values() and message_of(r) == message
        }
        assert sorted(found) == sorted(expected), f"message {message} of {queue} is in {sorted(found)}"
        for deaths in found.values():
            ((name, why, count),) = deaths
            assert name == settings.name
            assert count == 1
            assert reason is None or why == reason
