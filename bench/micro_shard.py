"""What a message costs in a shard, from publish to the applied ack, without codec, disk and network.

Law: one process, one leader, one follower, one home node; 256 B messages in batches; nothing is measured that a
message does not do in production. Prints nanoseconds a message for each part, of the median batch.

    python -m bench.micro_shard [--profile]
"""

from __future__ import annotations

import cProfile
import pstats
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns

from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.leader import ShardLeader
from cluster.broker.shard.messages import AttachedConsumer, RequestOp
from cluster.broker.shard.state import Applied, ShardState
from cluster.broker.shard.stream import ShardStream

MESSAGE_BYTES = 256
QUEUE = QueueId(7)
CYCLES = 400
WINDOW = 1 << 40


class Sink:
    """Publisher and consumer at once: counts, and remembers what came to be acked."""

    consumer = 1

    def __init__(self) -> None:
        self.confirmed = 0
        self.acked = 0
        self.runs: list[tuple[int, int]] = []

    def published(self, first: int, count: int, size: int) -> None:
        self.confirmed += count

    def refused(self, first: int, count: int, size: int) -> None:
        raise AssertionError("the leader never goes")

    def settled(self, count: int) -> None:
        self.acked += count

    def deliver(self, first: int, count: int, redelivered: int, sizes: bytes, records: bytes | memoryview) -> None:
        self.runs.append((first, count))

    def attached(self) -> AttachedConsumer:
        return AttachedConsumer(1, QUEUE, WINDOW, WINDOW, exclusive=False, holder=False, held=())

    def cancelled(self) -> None:
        raise AssertionError("nobody drops the queue")


class Bench:
    """One shard; `parts` is nanoseconds of each batch for each part."""

    def __init__(self, batch: int, publish_run: int, ack_run: int) -> None:
        """Messages in a batch, in a call of `publish`, in a call of `settle`."""
        self.batch = batch
        self.publish_run = publish_run
        self.ack_run = ack_run
        self.parts: dict[str, list[int]] = {}
        self.state, self.follower = ShardState(), ShardState()
        self.leader = ShardLeader(self.state, self._load)
        self.stream = ShardStream(shard=1, node=1, incarnation=1)
        self.sink = Sink()
        self.index = 0
        self.numbers = 0
        self.stream.leader_is(1, 1)
        words = self.stream.take_out()
        assert words is not None
        assert words.attach is not None
        self.leader.attach(1, words.attach)
        self.leader.all_attached()
        self.leader.request(1, 1, RequestOp.CONSUME, QUEUE, (1, WINDOW, WINDOW, 0))
        self.stream.join(QUEUE, self.sink)
        self.leader.take_out()

    def _load(self, index: int) -> bytes:
        raise AssertionError("everything is in memory")

    def timed(self, part: str, act: Callable[[], None]) -> None:
        start = perf_counter_ns()
        act()
        self.parts.setdefault(part, []).append(perf_counter_ns() - start)

    def cycle(self) -> None:
        """One batch published and delivered, and its acks applied."""
        record = bytes(MESSAGE_BYTES)
        run = self.publish_run
        records, sizes, size = [record] * run, [MESSAGE_BYTES] * run, MESSAGE_BYTES * run
        queues = [QUEUE]

        def publish() -> None:
            stream, sink, number = self.stream, self.sink, self.numbers
            for first in range(number, number + self.batch, run):
                stream.publish(queues, records, sizes, size, sink, first)

        def ack() -> None:
            stream, sink, step = self.stream, self.sink, self.ack_run
            for first, count in sink.runs:
                for seq in range(first, first + count, step):
                    stream.settle(QUEUE, seq, step, sink)
            sink.runs.clear()

        self.timed("publish", publish)
        self.numbers += self.batch
        self.through("publish")
        self.timed("settle", ack)
        self.through("settle")

    def through(self, kind: str) -> None:
        """Carry what the stream has through the log and back."""
        data = b""
        applied = Applied(0)

        def home_out() -> None:
            words = self.stream.take_out()
            assert words is not None
            for batch in words.batches:
                self.leader.receive_batch(batch)

        def entry() -> None:
            nonlocal data
            taken = self.leader.take_entry(0, 1 << 24)
            assert taken is not None
            data = taken
            self.leader.entry_accepted()

        def apply_state() -> None:
            nonlocal applied
            applied = self.state.apply(self.index, data)

        def apply_leader() -> None:
            self.leader.applied(applied, data)

        def follow() -> None:
            self.follower.apply(self.index, data)

        def home_in() -> None:
            self.stream.receive(words)

        self.index += 1
        self.timed(f"{kind}: batch to leader", home_out)
        self.timed(f"{kind}: take_entry", entry)
        self.timed(f"{kind}: apply, leader's state", apply_state)
        self.timed(f"{kind}: apply, follower", follow)
        self.timed(f"{kind}: applied", apply_leader)
        start = perf_counter_ns()
        words = self.leader.take_out()[1]
        self.parts.setdefault(f"{kind}: take_out", []).append(perf_counter_ns() - start)
        self.timed(f"{kind}: home receives", home_in)


def measure(batch: int, publish_run: int, ack_run: int) -> dict[str, float]:
    """Nanoseconds a message for each part: the median batch, so that a neighbour's load does not count."""
    bench = Bench(batch, publish_run, ack_run)
    for _ in range(CYCLES):
        bench.cycle()
    assert bench.sink.confirmed == bench.sink.acked == CYCLES * batch
    assert not bench.state.live
    return {part: median(times) / batch for part, times in bench.parts.items()}


def main() -> None:
    if "--profile" in sys.argv:
        bench = Bench(500, 1, 1)
        profile = cProfile.Profile()
        profile.enable()
        for _ in range(200):
            bench.cycle()
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)
        return
    for batch in (100, 500):
        for publish_run, ack_run in ((batch, batch), (10, 10), (1, 1)):
            parts = measure(batch, publish_run, ack_run)
            print(f"\nbatches of {batch}, {publish_run} a publish call, {ack_run} a settle call: ns a message")
            for part, cost in parts.items():
                print(f"  {part:36} {cost:8.1f}")
            print(f"  {'sum':36} {sum(parts.values()):8.1f}")


if __name__ == "__main__":
    main()
