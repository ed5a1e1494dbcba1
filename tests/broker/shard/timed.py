"""A scene with a clock, and a queue with settings.

Law: time passes when a test says so, and while the log is slow.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.amqp.properties import BasicProperties
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.leader import ShardLeader
from cluster.broker.shard.messages import AttachedConsumer
from cluster.broker.shard.settings import QueueSettings
from cluster.broker.shard.surroundings import Target
from tests.broker.shard.batches import Triples, make_batch
from tests.broker.shard.graves import make_record
from tests.broker.shard.scene import QUEUE, WINDOW, Scene


class Catalog:
    """`Surroundings` of one queue with settings; its dead letters go nowhere."""

    is_current = True
    knows_dooms = True
    has_room: bool = True
    answered = 1 << 30
    """All at once."""

    def __init__(self, settings: QueueSettings) -> None:
        self.of_queue = settings
        self.asked = 0

    def ask(self) -> int:
        self.asked += 1
        return self.asked

    def settings(self, queue: QueueId) -> QueueSettings:
        return self.of_queue

    def dead_letter_targets(
        self, queue: QueueId, exchange: str, routing_keys: Sequence[str], properties: BasicProperties
    ) -> Sequence[Target]:
        return ()


class Timed(Scene):
    """A scene with a clock."""

    def __init__(self, **settings: object) -> None:
        self.catalog = Catalog(QueueSettings("q", **settings))  # type: ignore[arg-type]
        self.now_ms = 1000
        self.slow_log_ms = 0
        """What an entry takes to be committed."""
        super().__init__()

    def new_leader(self) -> None:
        self.leader = ShardLeader(
            self.state,
            self.entries.__getitem__,
            self.limits,
            self.deleted.__contains__,
            self.catalog,
            now_ms=self.now_ms,
        )

    def change_leader(self, *attached: AttachedConsumer) -> None:
        self.new_leader()
        self.leader.attach(1, list(attached))
        self.leader.all_attached()
        self.run()

    def append(self, bytes_max: int = WINDOW) -> None:
        data = self.leader.take_entry(self.now_ms, bytes_max)
        assert data is not None
        self.leader.entry_accepted()
        if self.slow_log_ms:
            self.now_ms += self.slow_log_ms
            self.leader.tick(self.now_ms)
        index = self.state.applied_index + 1
        self.entries[index] = data
        self.leader.applied(self.state.apply(index, data), data)

    def publish_marked(self, count: int, marks: Triples) -> None:
        self.numbers[1] = self.numbers.get(1, 0) + 1
        records = [make_record(n) for n in range(count)]
        self.leader.receive_batch(make_batch(self.numbers[1], records=records, runs=[(QUEUE, 0, count)], marks=marks))
        self.run()

    def publish_alike(self, count: int) -> None:
        """Messages of one byte."""
        self.batch(records=[make_record(0)] * count, runs=[(QUEUE, 0, count)])
        self.run()

    def pass_time(self, milliseconds: int) -> None:
        self.now_ms += milliseconds
        self.leader.tick(self.now_ms)
        self.run()

    @property
    def alive(self) -> list[int]:
        state = self.state.queues[QUEUE]
        return [seq for a, b in state.alive_parts(0, state.next_seq) for seq in range(a, b)]

    def answer(self, request: int) -> object:
        return next(value for number, _, value in self.replies() if number == request)
