"""Messages that have died and have not left their queue yet: they count, they are not forgotten, and they keep pace."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack
import pytest

from cluster.amqp.properties import BasicProperties, decode_header, encode_header
from cluster.amqp.record import Record
from cluster.broker.shard import proposals
from cluster.broker.shard.columns import EntryCorrupt, pack_numbers
from cluster.broker.shard.entry import EntryPayloads, LeaderOps, QueueId, decode_head, encode_entry
from cluster.broker.shard.messages import ReplyStatus, RequestOp
from cluster.broker.shard.settings import PLAIN, UNKNOWN, QueueSettings
from cluster.broker.shard.state import ShardState
from cluster.broker.shard.surroundings import Target
from tests.broker.shard.graves import deaths_of, make_record, message_of
from tests.broker.shard.scene import QUEUE
from tests.broker.shard.timed import Catalog, Timed

GRAVE = QueueId(91)


class Waiting(Catalog):
    """Dead letters go to `GRAVE`, while this copy of the catalog is current."""

    is_current: bool = False
    is_behind = False
    """Has the copy not heard of the queue?"""

    def settings(self, queue: QueueId) -> QueueSettings:
        if self.is_behind:
            return UNKNOWN
        return self.of_queue if queue == QUEUE else PLAIN

    def dead_letter_targets(
        self, queue: QueueId, exchange: str, routing_keys: Sequence[str], properties: BasicProperties
    ) -> Sequence[Target]:
        return [Target(0, GRAVE, "grave", has_priorities=False)]


class Burial(Timed):
    """A queue with dead letters that cannot leave before `open` is called."""

    def __init__(self, **settings: object) -> None:
        super().__init__(dead_letter_exchange="dlx", **settings)
        self.catalog: Waiting = Waiting(self.catalog.of_queue)
        self.new_leader()
        self.change_leader()

    @classmethod
    def of_unknown(cls) -> Burial:
        """Three are dead, and a leader is new that has not heard of the queue."""
        scene = cls(message_ttl_ms=10)
        scene.publish_marked(3, [])
        scene.pass_time(50)
        scene.catalog.is_behind, scene.catalog.answered = True, 0
        scene.change_leader()
        scene.open()
        return scene

    def open(self) -> None:
        self.catalog.is_current = True
        self.run()

    def answered(self, op: RequestOp, *args: int) -> tuple[int, object]:
        request = self.ask(op, *args)
        self.run()
        return next((status, value) for number, status, value in self.replies() if number == request)

    def record_of(self, queue: QueueId, seq: int) -> bytes:
        ((_, _, index, slot),) = self.state.queues[queue].places(seq, seq + 1)
        return EntryPayloads(self.entries[index]).record(slot)

    @property
    def buried(self) -> int:
        grave = self.state.queues.get(GRAVE)
        return grave.alive if grave is not None else 0


def test_a_leader_that_has_not_heard_of_a_queue_asks_before_it_lets_its_dead_go() -> None:
    scene = Burial.of_unknown()
    assert scene.catalog.asked == 1
    assert (scene.buried, scene.state.queues[QUEUE].alive) == (0, 3)
    scene.catalog.is_behind, scene.catalog.answered = False, 1
    scene.run()
    assert scene.buried == 3


def test_what_died_in_a_queue_that_is_gone_goes_when_that_is_certain() -> None:
    scene = Burial.of_unknown()
    scene.catalog.answered = 1
    scene.run()
    assert (scene.buried, scene.state.queues[QUEUE].alive) == (0, 0)


def test_what_is_on_its_way_to_dead_letters_keeps_a_queue_from_going_if_it_is_empty() -> None:
    scene = Burial(message_ttl_ms=10)
    scene.publish_marked(3, [])
    scene.pass_time(50)
    assert scene.leader.queues[QUEUE].ready.count == 0
    assert scene.answered(RequestOp.DELETE, 0, 1) == (ReplyStatus.NOT_EMPTY, None)
    scene.open()
    assert scene.buried == 3
    assert scene.answered(RequestOp.DELETE, 0, 1) == (ReplyStatus.OK, 0)


def test_a_deletion_says_how_many_messages_go_with_those_that_had_not_left_yet() -> None:
    scene = Burial(max_length=2)
    scene.publish_marked(5, [])
    assert scene.answered(RequestOp.DELETE, 0, 0) == (ReplyStatus.OK, 5)


def test_what_is_dropped_and_goes_nowhere_does_not_keep_a_queue() -> None:
    scene = Timed(message_ttl_ms=10)
    scene.publish_marked(3, [])
    scene.catalog.is_current = False
    scene.pass_time(50)
    assert scene.leader.queues[QUEUE].leaving == 0
    request = scene.ask(RequestOp.DELETE, 0, 1)
    scene.run()
    assert scene.answer(request) == 0


def test_a_queue_does_not_expire_before_its_dead_letters_have_left() -> None:
    scene = Burial(message_ttl_ms=10, expires_ms=100)
    scene.publish_marked(3, [])
    scene.pass_time(200)
    assert scene.leader.take_unused() == []
    scene.open()
    scene.pass_time(1000)
    assert scene.leader.take_unused() == [QUEUE]


def test_what_leaves_is_counted_until_it_is_where_it_goes_to() -> None:
    scene = Burial(message_ttl_ms=10)
    scene.publish_marked(3, [])
    scene.pass_time(50)
    assert (scene.leader.figures.leaving, scene.leader.figures.of(scene.leader.queues[QUEUE], 1000)[-1]) == (3, 3)
    scene.open()
    assert (scene.leader.figures.leaving, scene.leader.queues[QUEUE].leaving, scene.buried) == (0, 0, 3)


def test_messages_with_the_same_properties_leave_by_the_thousand() -> None:
    scene = Burial(message_ttl_ms=10)
    scene.publish_alike(3000)
    scene.pass_time(50)
    before = scene.state.applied_index
    scene.open()
    assert scene.buried == 3000
    assert scene.state.applied_index - before <= 4


def test_messages_with_headers_of_their_own_leave_in_pieces_that_take_no_longer() -> None:
    scene = Burial(message_ttl_ms=10)
    records = [
        Record(b"\0\1k", encode_header(1, BasicProperties(message_id=str(n))), b"x").encode() for n in range(400)
    ]
    scene.batch(records=records, runs=[(QUEUE, 0, len(records))])
    scene.run()
    scene.pass_time(50)
    before = scene.state.applied_index
    scene.open()
    assert scene.buried == 400
    assert scene.state.applied_index - before >= 2
    found = [scene.record_of(GRAVE, seq) for seq in range(400)]
    ids = [decode_header(Record.decode(record).header).properties.message_id for record in found]
    assert ids == [str(n) for n in range(400)]


def test_messages_that_die_alike_keep_their_own_bodies() -> None:
    scene = Burial(message_ttl_ms=10)
    scene.batch(records=[make_record(n) for n in range(12)], runs=[(QUEUE, 0, 12)])
    scene.run()
    scene.pass_time(50)
    scene.open()
    letters = [scene.record_of(GRAVE, seq) for seq in range(12)]
    assert [message_of(letter) for letter in letters] == list(range(12))
    assert {decode_header(Record.decode(letter).header).body_size for letter in letters} == {1, 2}
    assert {tuple(deaths_of(letter)) for letter in letters} == {(("q", "expired", 1),)}


@pytest.mark.parametrize("is_restored", [False, True])
def test_what_was_dropped_is_not_handed_out_by_the_next_leader(is_restored: bool) -> None:
    scene = Burial(max_length=2)
    scene.publish_marked(5, [])
    scene.consume(1)
    assert [seq for _, seq, _ in scene.seqs()] == [3, 4]
    if is_restored:
        data = scene.state.snapshot()
        scene.state = ShardState()
        scene.state.restore(data)
        assert scene.state.snapshot() == data
    scene.change_leader()
    assert scene.leader.queues[QUEUE].leaving == 3
    scene.consume(1)
    assert [seq for _, seq, _ in scene.seqs()] == [3, 4], "they were held, and nothing else comes"
    scene.open()
    letters = [scene.record_of(GRAVE, seq) for seq in range(scene.buried)]
    assert [deaths_of(letter) for letter in letters] == [[("q", "maxlen", 1)]] * 3


def test_what_leaves_with_the_entry_that_follows_its_death_is_not_declared_before() -> None:
    scene = Burial(max_length=2)
    scene.catalog.is_current = True
    scene.publish_marked(5, [])
    assert scene.buried == 3
    assert not any(decode_head(data).leader.dooms for data in scene.entries.values())


def test_neighbours_are_declared_together() -> None:
    scene = Burial(max_length=1)
    for _ in range(5):
        scene.batch(records=[make_record(0)], runs=[(QUEUE, 0, 1)])
        scene.append()
        scene.leader.take_out()
    scene.run()
    declared = [decode_head(data).leader.dooms for data in scene.entries.values()]
    assert sum(map(len, declared)) <= 4 * 32
    assert scene.state.queues[QUEUE].in_limbo() == [(0, 4, 2)]


def test_what_a_message_dies_of_is_forgotten_with_it() -> None:
    scene = Burial(max_length=1)
    scene.publish_marked(3, [])
    state = scene.state.queues[QUEUE]
    assert state.doomed
    scene.batch(settles=[(QUEUE, 0, 2)])
    scene.run()
    assert (state.in_limbo(), state.doomed, scene.leader.figures.leaving) == ([], {}, 0)
    scene.open()
    assert scene.buried == 0


def test_a_snapshot_from_before_reasons_were_kept_is_read_and_its_messages_were_rejected() -> None:
    scene = Burial(max_length=1)
    scene.publish_marked(3, [])
    _, *head, queues, transactions = msgpack.unpackb(scene.state.snapshot())
    older = msgpack.packb([2, *head, [queue[:-1] for queue in queues], transactions])
    state = ShardState()
    state.restore(older)
    assert state.queues[QUEUE].in_limbo() == [(0, 2, 0)]


def test_a_program_that_cannot_read_reasons_is_told_none() -> None:
    scene = Burial(max_length=1)
    scene.catalog.knows_dooms = False
    scene.publish_marked(3, [])
    assert msgpack.unpackb(scene.state.snapshot())[0] == 2
    assert not any(decode_head(data).leader.dooms for data in scene.entries.values())
    scene.catalog.knows_dooms = True
    scene.run()
    assert scene.state.queues[QUEUE].in_limbo() == [(0, 2, 2)]
    scene.open()
    assert (scene.buried, msgpack.unpackb(scene.state.snapshot())[0]) == (2, 2)


def test_a_reason_of_a_later_version_is_refused() -> None:
    with pytest.raises(EntryCorrupt, match="does not know"):
        decode_head(encode_entry(0, [], LeaderOps(dooms=pack_numbers([int(QUEUE), 0, 1, 4]))))


def test_publishers_wait_while_too_many_dead_letters_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals, "LEAVING_MAX", 1500)
    scene = Burial(max_length=1)
    scene.publish_alike(4000)
    for _ in range(8):
        scene.batch(records=[make_record(0)] * 500, runs=[(QUEUE, 0, 500)])
    scene.append()
    assert scene.state.queues[QUEUE].next_seq == 8000, "what cannot leave keeps nobody waiting"
    scene.leader.take_out()
    scene.catalog.is_current = True
    for _ in range(8):
        scene.batch(records=[make_record(0)] * 500, runs=[(QUEUE, 0, 500)])
    taken: list[int] = []
    while scene.leader.wants_entry:
        before = scene.state.queues[QUEUE].next_seq
        scene.append()
        taken.append(scene.state.queues[QUEUE].next_seq - before)
        scene.leader.take_out()
    assert taken[0] == 500, "nothing has left yet: one batch"
    assert max(taken[1:4]) <= 1000
    assert sum(taken) == 4000
    assert scene.buried == 11_999


def test_a_dead_letter_waits_for_room() -> None:
    scene = Burial(message_ttl_ms=10)
    scene.catalog.has_room = False
    scene.publish_marked(3, [])
    scene.pass_time(50)
    scene.open()
    assert (scene.buried, scene.leader.queues[QUEUE].leaving) == (0, 3)
    assert not scene.leader.wants_entry, "it does not ask for entries in vain"
    scene.catalog.has_room = True
    assert scene.leader.wants_entry
    scene.run()
    assert (scene.buried, scene.leader.queues[QUEUE].leaving) == (3, 0)


def test_what_goes_nowhere_gives_room_back_and_does_not_wait_for_it() -> None:
    scene = Timed(message_ttl_ms=10)
    scene.catalog.has_room = False
    scene.publish_marked(3, [])
    scene.pass_time(50)
    assert scene.state.queues[QUEUE].alive == 0
