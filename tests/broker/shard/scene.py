"""A leader for tests, scene by scene: a log that commits at once, and words as they are.

Law: nothing happens between two steps of a test but what it asks for.
"""

from __future__ import annotations

from cluster.broker.shard.entry import Batch, QueueId
from cluster.broker.shard.leader import LeaderLimits, ShardLeader
from cluster.broker.shard.messages import AttachedConsumer, Delivery, Reply, RequestOp, ToHome
from cluster.broker.shard.state import ShardState
from tests.broker.shard.batches import Triples, make_batch

QUEUE = QueueId(7)
WINDOW = 10**6
DEFAULT_LIMITS = LeaderLimits()


class Scene:
    """A leader whose home nodes 1 and 2 have attached with nothing."""

    def __init__(self, *, attach: bool = True, limits: LeaderLimits = DEFAULT_LIMITS) -> None:
        self.state = ShardState()
        self.entries: dict[int, bytes] = {}
        self.deleted: set[QueueId] = set()
        self.limits = limits
        self.is_leaving = False
        self.numbers: dict[int, int] = {}
        self.requests = 0
        self.words: dict[int, ToHome] = {}
        self.new_leader()
        if attach:
            self.leader.attach(1, [])
            self.leader.attach(2, [])
            self.leader.all_attached()

    def new_leader(self) -> None:
        self.leader = ShardLeader(
            self.state,
            self.entries.__getitem__,
            self.limits,
            self.deleted.__contains__,
            is_leaving=lambda: self.is_leaving,
        )

    def batch(
        self,
        node: int = 1,
        *,
        records: list[bytes] | None = None,
        runs: Triples | None = None,
        settles: Triples | None = None,
        returns: Triples | None = None,
    ) -> Batch:
        """Hand the next batch of a node to the leader."""
        self.numbers[node] = self.numbers.get(node, 0) + 1
        batch = make_batch(self.numbers[node], node=node, records=records, runs=runs, settles=settles, returns=returns)
        self.leader.receive_batch(batch)
        return batch

    def publish(self, *records: bytes, node: int = 1) -> None:
        self.batch(node, records=list(records), runs=[(QUEUE, 0, len(records))])
        self.run()

    def append(self, bytes_max: int = WINDOW) -> None:
        """One entry into the log, and applied."""
        data = self.leader.take_entry(0, bytes_max)
        assert data is not None
        self.leader.entry_accepted()
        index = self.state.applied_index + 1
        self.entries[index] = data
        self.leader.applied(self.state.apply(index, data), data)

    def run(self) -> None:
        """Until nothing is left to propose; what was said last is in `words`."""
        self.words = {}
        while True:
            for node, words in self.leader.take_out().items():
                told = self.words.setdefault(node, ToHome())
                told.receipt = words.receipt or told.receipt
                told.refused = words.refused or told.refused
                told.replies += words.replies
                told.deliveries += words.deliveries
                told.cancelled += words.cancelled
            if not self.leader.wants_entry:
                return
            self.append()

    def ask(self, op: RequestOp, *args: int, node: int = 1, queue: QueueId = QUEUE) -> int:
        self.requests += 1
        self.leader.request(node, self.requests, op, queue, args)
        return self.requests

    def consume(
        self, consumer: int, *, node: int = 1, credit: int = 100, size: int = WINDOW, exclusive: int = 0
    ) -> int:
        request = self.ask(RequestOp.CONSUME, consumer, credit, size, exclusive, node=node)
        self.run()
        return request

    def deliveries(self, node: int = 1) -> list[Delivery]:
        return self.words[node].deliveries if node in self.words else []

    def seqs(self, node: int = 1) -> list[tuple[int, int, int]]:
        """(consumer, seq, redelivered) in the order of delivery."""
        return [(c, s, r) for c, _, first, n, r, _, _ in self.deliveries(node) for s in range(first, first + n)]

    def replies(self, node: int = 1) -> list[Reply]:
        return self.words[node].replies if node in self.words else []


def holding(consumer: int, *held: tuple[int, int], credit: int = 0, holder: bool = False) -> AttachedConsumer:
    return AttachedConsumer(consumer, QUEUE, credit, WINDOW, exclusive=False, holder=holder, held=held)
