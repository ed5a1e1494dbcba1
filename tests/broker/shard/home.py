"""A simulated home node: publishers, consumers, basic.get, purges, over one ShardStream.

Law: it behaves as a session would, at random; it keeps account of credit and tells the oracle what it sees.
"""

from __future__ import annotations

from random import Random

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.messages import AttachedConsumer, ReplyStatus, RequestOp
from cluster.broker.shard.stream import ShardStream, StreamLimits
from tests.broker.shard.oracle import Oracle, Place, make_record, split_records

BYTES_WINDOW = 120


class Publisher:
    """A PublishSink whose publishes are confirmed in order."""

    def __init__(self, number: int, oracle: Oracle) -> None:
        self.number = number
        self.oracle = oracle
        self.sent: list[tuple[list[QueueId], int]] = []
        """Queues and bytes of each publish, by its number."""
        self.unanswered: dict[int, None] = {}
        """Numbers that are neither confirmed nor refused, in order."""

    def publish(self, stream: ShardStream, queues: list[QueueId], count: int, random: Random) -> None:
        first = len(self.sent)
        records = [make_record((self.number, first + i), random.randrange(20)) for i in range(count)]
        sizes = [len(r) for r in records]
        self.sent += [(queues, size) for size in sizes]
        self.unanswered.update(dict.fromkeys(range(first, first + count)))
        stream.publish(queues, records, sizes, sum(sizes), self, first)

    def published(self, first: int, count: int, size: int) -> None:
        assert list(self.unanswered)[:count] == list(range(first, first + count)), "confirmed in order"
        for queue, message in self._answered(first, count, size):
            self.oracle.confirmed(queue, message)

    def refused(self, first: int, count: int, size: int) -> None:
        for queue, message in self._answered(first, count, size):
            self.oracle.refused(queue, message)

    def _answered(self, first: int, count: int, size: int) -> list[tuple[int, tuple[int, int]]]:
        assert size == sum(size for _, size in self.sent[first : first + count])
        for number in range(first, first + count):
            del self.unanswered[number]
        return [(q, (self.number, n)) for n in range(first, first + count) for q in self.sent[n][0]]


class Answer:
    """A SettleSink for one ack or nack."""

    def __init__(self, oracle: Oracle, places: list[Place], *, ack: bool) -> None:
        self.oracle = oracle
        self.places = places
        self.ack = ack

    def settled(self, count: int) -> None:
        assert count == len(self.places)
        if self.ack:
            self.oracle.settle_confirmed(self.places)


class Consumer:
    """A ConsumerSink with a prefetch count, or (prefetch 0) a holder for basic.get."""

    def __init__(self, home: Home, consumer: int, queue: QueueId, prefetch: int, *, exclusive: bool) -> None:
        self.home = home
        self.node = home.node
        self.consumer = consumer
        self.queue = queue
        self.credit = prefetch
        self.bytes_credit = BYTES_WINDOW
        self.exclusive = exclusive
        self.holder = prefetch == 0
        self.outstanding: dict[Place, int] = {}
        """Bytes of what the client has not answered."""
        self.left = False
        self.cancelling = False

    def deliver(self, first: int, count: int, redelivered: int, sizes: bytes, records: bytes) -> None:
        assert not self.left
        assert 0 < count <= self.credit, "more messages than there was credit for"
        parts = split_records(sizes, records)
        assert sum(len(p) for p in parts[:-1]) < self.bytes_credit, "more bytes than there was credit for"
        self.credit -= count
        self.bytes_credit -= len(records)
        self.take(self.queue, first, parts)

    def take(self, queue: int, first: int, parts: list[bytes]) -> None:
        self.home.oracle.received(self, queue, first, parts)
        for seq, part in enumerate(parts, first):
            self.outstanding[(queue, seq)] = len(part)

    def attached(self) -> AttachedConsumer:
        return AttachedConsumer(
            self.consumer, self.queue, self.credit, self.bytes_credit, self.exclusive, self.holder, ()
        )

    def cancelled(self) -> None:
        self.left = True

    def answer(self, places: list[Place], *, ack: bool) -> None:
        """Ack, or give back, neighbours of one queue."""
        oracle = self.home.oracle
        size = sum([self.outstanding.pop(place) for place in places])
        sink = Answer(oracle, places, ack=ack)
        queue, first = places[0]
        if ack:
            oracle.acked.update(places)
            self.home.stream.settle(QueueId(queue), first, len(places), sink)
        else:
            oracle.let_go(self, places)
            self.home.stream.give_back(QueueId(queue), first, len(places), sink)
        if not self.holder and not self.left:
            self.credit += len(places)
            self.bytes_credit += size
            self.home.stream.credit(self.queue, self.consumer, len(places), size)

    def answer_some(self, random: Random, *, ack_chance: float = 0.7) -> None:
        """Answer a stretch of neighbours, anywhere among what is outstanding."""
        if not self.outstanding:
            return
        place = random.choice(sorted(self.outstanding))
        places = [place]
        for _ in range(random.randrange(4)):
            place = (place[0], place[1] + 1)
            if place not in self.outstanding:
                break
            places.append(place)
        self.answer(places, ack=random.random() < ack_chance)

    def answer_all(self, *, ack: bool) -> None:
        for place in sorted(self.outstanding):
            self.answer([place], ack=ack)


class Home:
    """One incarnation of a home node."""

    def __init__(self, node: int, incarnation: int, oracle: Oracle, random: Random) -> None:
        self.node = node
        self.oracle = oracle
        self.random = random
        limits = StreamLimits(batches_in_flight=random.randrange(1, 5), batch_bytes_max=random.choice([40, 200, 9999]))
        self.stream = ShardStream(shard=1, node=node, incarnation=incarnation, limits=limits)
        self.publishers = [Publisher((node << 16) + (incarnation << 8) + n, oracle) for n in range(2)]
        self.consumers: list[Consumer] = []
        self.asked: list[tuple[int, Consumer | None]] = []
        """Requests made, answered or not."""
        self.numbers = 0
        self.holder = self._consumer(QueueId(0), 0)

    def _consumer(self, queue: QueueId, prefetch: int, *, exclusive: bool = False) -> Consumer:
        self.numbers += 1
        consumer = Consumer(self, self.numbers, queue, prefetch, exclusive=exclusive)
        self.consumers.append(consumer)
        return consumer

    def publish(self, queues: list[QueueId]) -> None:
        self.random.choice(self.publishers).publish(self.stream, queues, self.random.randrange(1, 5), self.random)

    def consume(self, queue: QueueId, *, exclusive: bool = False) -> None:
        consumer = self._consumer(queue, self.random.randrange(1, 8), exclusive=exclusive)

        def answered(status: int, value: object) -> None:
            if status != ReplyStatus.OK:
                consumer.left = True
            else:
                self.stream.join(queue, consumer)

        args = (consumer.consumer, consumer.credit, consumer.bytes_credit, int(exclusive))
        request = self.stream.request(RequestOp.CONSUME, queue, args, answered)
        self.asked.append((request, consumer))

    def cancel(self) -> None:
        """basic.cancel: deliveries go on until the reply; what is outstanding stays so."""
        consumers = [c for c in self._joined() if not c.cancelling]
        if not consumers:
            return
        consumer = self.random.choice(consumers)
        consumer.cancelling = True

        def answered(status: int, value: object) -> None:
            consumer.left = True
            self.stream.leave(consumer)

        self.stream.request(RequestOp.CANCEL, consumer.queue, (consumer.consumer,), answered)

    def close_channel(self) -> None:
        """A consumer goes at once and gives everything back."""
        consumers = self._joined()
        if not consumers:
            return
        consumer = self.random.choice(consumers)
        consumer.left = True
        self.stream.leave(consumer)
        self.stream.request(RequestOp.CANCEL, consumer.queue, (consumer.consumer,), lambda _, __: None)
        consumer.answer_all(ack=False)

    def _joined(self) -> list[Consumer]:
        return [c for c in self.consumers if c.consumer in self.stream.consumers]

    def get(self, queue: QueueId) -> None:
        def answered(status: int, value: object) -> None:
            if status == ReplyStatus.OK and isinstance(value, list):
                seq, _, sizes, records, _ = value
                self.holder.take(queue, seq, split_records(sizes, records))

        request = self.stream.request(RequestOp.GET, queue, (self.holder.consumer,), answered)
        self.asked.append((request, None))

    def forget(self) -> None:
        """A channel closes while it waits for an answer."""
        if not self.asked:
            return
        request, consumer = self.asked.pop(self.random.randrange(len(self.asked)))
        self.stream.forget_request(request)
        if consumer is not None and consumer.consumer not in self.stream.consumers:
            consumer.left = True

    def purge(self, queue: QueueId) -> None:
        def answered(status: int, value: object) -> None:
            assert isinstance(value, int) or status == ReplyStatus.GONE

        self.stream.request(RequestOp.PURGE, queue, (), answered)

    def lose_patience(self) -> None:
        """There is no leader for too long."""
        if not self.stream.leader:
            self.stream.refuse_unsent()
            assert not self.stream.unsent

    def answer_some(self) -> None:
        holding = [c for c in self.consumers if c.outstanding]
        if holding:
            self.random.choice(holding).answer_some(self.random)

    def check_held(self) -> None:
        """The stream could tell a new leader of everything that is outstanding here."""
        for consumer in self.consumers:
            for queue, seq in consumer.outstanding:
                held = self.stream.holds(QueueId(queue), seq)
                assert held or (queue, seq) in self.oracle.excused or queue in self.oracle.dropped
