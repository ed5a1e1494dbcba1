"""What a simulated shard promises, checked against what everybody sees.

Law: it looks on and never helps. `committed` follows the log, `handed_out` the leaders, `received` and what
comes after it the consumers; each asserts the promises of design.md §4 at the moment they could break.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Protocol

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.leader import ShardLeader
from cluster.broker.shard.messages import ReplyStatus, ToHome
from tests.broker.shard.naive import NaiveState, flat

Place = tuple[int, int]
"""(queue, seq)."""
MessageId = tuple[int, int]
"""(publisher, number)."""

_ID = struct.Struct(">II")


def make_record(message: MessageId, filler: int) -> bytes:
    return _ID.pack(*message) + bytes(filler)


def places_of(words: ToHome, gets: dict[int, int]) -> set[Place]:
    """All messages in a leader's words. `gets`: request -> queue."""
    places = {(queue, first + i) for _, queue, first, count, *_ in words.deliveries for i in range(count)}
    for request, status, value in words.replies:
        if request in gets and status == ReplyStatus.OK and isinstance(value, list):
            places.add((gets[request], value[0]))
    return places


def split_records(sizes: bytes, records: bytes) -> list[bytes]:
    """The records of a delivery."""
    lengths = struct.unpack(f"<{len(sizes) // 4}I", sizes)
    assert sum(lengths) == len(records)
    parts = []
    for length in lengths:
        parts.append(records[:length])
        records = records[length:]
    return parts


class Holder(Protocol):
    """A consumer on a home node."""

    @property
    def node(self) -> int: ...


class Oracle:
    def __init__(self) -> None:
        self.naive = NaiveState()
        self.record_at: dict[Place, bytes] = {}
        self.place_of: dict[tuple[int, MessageId], Place] = {}
        self.handed_to: dict[Place, int] = {}
        """Messages that a leader has handed out, and the home node that was the last to get them."""
        self.fresh_below: dict[int, int] = {}
        """Queue -> one past the last seq that was handed out as not redelivered."""
        self.last_first: dict[tuple[int, int], int] = {}
        """(queue, publisher) -> number of its latest message that was handed out for the first time."""
        self.holders: dict[Place, list[Holder]] = {}
        """Present consumers that hold a message: delivered, and neither given back nor known as settled."""
        self.excused: set[Place] = set()
        """Messages whose holder lost touch with the leader while it held them."""
        self.acked: set[Place] = set()
        self.never: set[tuple[int, MessageId]] = set()
        """(queue, message) whose publisher was told that it is not stored, and will not be."""
        self.settled: set[Place] = set()
        self.done_by_leader: set[Place] = set()
        self.dropped: set[int] = set()
        self.received_places: set[Place] = set()

    # ---- the log

    def committed(self, index: int, data: bytes | None) -> None:
        if data is None:
            return
        change = self.naive.apply(index, data)
        for queue, seq, record in change.enqueued:
            message: MessageId = _ID.unpack_from(record)
            assert (queue, message) not in self.never, f"{message} was refused and is in queue {queue}"
            if queue not in self.dropped:
                assert (queue, message) not in self.place_of, f"{message} is twice in queue {queue}"
                assert (queue, seq) not in self.record_at
            self.place_of[(queue, message)] = (queue, seq)
            self.record_at[(queue, seq)] = record
        for queue, seq, by_home in change.settled:
            if not by_home:
                self.done_by_leader.add((queue, seq))
                spared = queue in self.dropped or (queue, seq) in self.excused
                assert spared or not self.holders.get((queue, seq)), f"{(queue, seq)} is purged from under its consumer"
            elif queue not in self.dropped:
                assert (queue, seq) in self.acked, f"{(queue, seq)} was settled and nobody had acked it"
        self.dropped.update(change.dropped)

    def confirmed(self, queue: int, message: MessageId) -> None:
        assert (queue, message) in self.place_of or queue in self.dropped, f"{message} confirmed and not in the log"

    def refused(self, queue: int, message: MessageId) -> None:
        assert (queue, message) not in self.place_of, f"{message} refused and in the log"
        self.never.add((queue, message))

    # ---- leaders

    def handed_out(
        self,
        leader: ShardLeader,
        out: dict[int, ToHome],
        gets: dict[tuple[int, int], int],
        in_flight: Callable[[Place], bool],
    ) -> None:
        """What a leader's `take_out` gave.

        gets        (node, request) of basic.get calls -> queue
        in_flight   is an earlier delivery of a message, or what a home node has to say about one, still on its way?
        """
        handed: dict[int, list[tuple[int, int, bytes, int]]] = {}
        for node, words in out.items():
            for _, queue, first, count, redelivered, sizes, records in words.deliveries:
                parts = split_records(sizes, records)
                assert len(parts) == count > 0
                handed.setdefault(queue, []).extend((seq, redelivered, r, node) for seq, r in enumerate(parts, first))
            for request, status, value in words.replies:
                asked = gets.get((node, request))
                if asked is not None and status == ReplyStatus.OK and isinstance(value, list):
                    seq, redelivered, sizes, records, _ = value
                    (record,) = split_records(sizes, records)
                    handed.setdefault(asked, []).append((seq, redelivered, record, node))
        for queue, messages in handed.items():
            seqs = sorted(seq for seq, _, _, _ in messages)
            assert len(seqs) == len(set(seqs)), f"queue {queue}: handed out twice at once"
            for seq, redelivered, record, node in sorted(messages):
                self._hand_out(queue, seq, redelivered, record)
                if (queue, seq) in self.excused and not self.holders.get((queue, seq)) and not in_flight((queue, seq)):
                    self.excused.remove((queue, seq))
                self.handed_to[(queue, seq)] = node
            ready = leader.queues[QueueId(queue)].ready.starts
            assert not ready or ready[0] > seqs[-1], f"queue {queue}: {seqs[-1]} went before {ready[0]}"

    def _hand_out(self, queue: int, seq: int, redelivered: int, record: bytes) -> None:
        place = (queue, seq)
        assert self.record_at[place] == record
        assert place not in self.settled, f"{place} was settled and is handed out again"
        if place in self.handed_to:
            assert redelivered, f"{place} is handed out again as if it were new"
        else:
            publisher, number = _ID.unpack_from(record)
            assert number > self.last_first.get((queue, publisher), -1), "a publisher's order is broken"
            self.last_first[(queue, publisher)] = number
        if not redelivered:
            assert seq >= self.fresh_below.get(queue, 0), f"queue {queue}: {seq} is new after a later one"
            self.fresh_below[queue] = seq + 1

    def in_one_place(self, leader: ShardLeader) -> None:
        """Every alive message is ready, unacked, being purged or dying, and nothing else is."""
        for queue_id, queue in leader.queues.items():
            ready, purging = flat(list(queue.ready)), flat(list(queue.purging))
            unacked = flat([(a, b) for a, b, _ in queue.unacked])
            dying = flat(list(queue.dying))
            everywhere = ready + purging + dying + unacked + flat(list(queue.delayed)) + flat(list(queue.parked))
            assert (len(ready), len(purging), len(dying), len(unacked)) == (
                queue.ready.count,
                queue.purging.count,
                queue.dying.count,
                queue.unacked.count,
            )
            state = queue.state
            alive = flat(state.alive_parts(state.head, state.next_seq))
            assert sorted(everywhere) == alive, f"queue {queue_id}: {sorted(everywhere)} are placed, {alive} alive"

    # ---- consumers

    def received(self, holder: Holder, queue: int, first: int, records: list[bytes]) -> None:
        for seq, record in enumerate(records, first):
            place = (queue, seq)
            if queue in self.dropped:
                continue
            assert self.record_at[place] == record
            held_by = self.holders.setdefault(place, [])
            if held_by:
                assert place in self.excused, f"{place} is held twice"
            held_by.append(holder)
            self.received_places.add(place)

    def let_go(self, holder: Holder, places: Iterable[Place]) -> None:
        """Given back, or its consumer is no more."""
        for place in places:
            held_by = self.holders.get(place, [])
            if holder in held_by:
                held_by.remove(holder)

    def settle_confirmed(self, places: Iterable[Place]) -> None:
        for place in places:
            queue, seq = place
            naive = self.naive.queues.get(queue)
            assert naive is None or seq not in naive.alive or queue in self.dropped
            self.settled.add(place)
            self.holders.pop(place, None)

    def out_of_touch(self, node: int) -> None:
        """A home node has lost its leader: what was handed out to it, arrived or not, may go to others."""
        self.excused.update(place for place, to in self.handed_to.items() if to == node)
        for place, held_by in self.holders.items():
            if any(holder.node == node for holder in held_by):
                self.excused.add(place)

    def crashed(self, node: int) -> None:
        """A home node lost its memory: nobody there holds anything."""
        self.out_of_touch(node)
        for held_by in self.holders.values():
            held_by[:] = [holder for holder in held_by if holder.node != node]

    # ---- the end

    def all_done(self) -> None:
        """Everything ever enqueued was delivered and acked, or purged, or went with its queue."""
        for place in self.record_at:
            if place[0] in self.dropped:
                continue
            assert place in self.done_by_leader or (place in self.received_places and place in self.acked), place
        for queue in self.naive.queues.values():
            assert not queue.alive
