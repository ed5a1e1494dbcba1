"""Histories by hand: a run of three nodes with a publisher on node 1 and whatever consumers a test wants."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from chaos.checker.finding import Finding
from chaos.checker.verdict import Verdict, judge
from chaos.history import (
    AnyRecord,
    Began,
    Confirmed,
    ConsumerEnded,
    Consuming,
    Delivered,
    FaultBegan,
    FaultMended,
    FaultOver,
    How,
    Published,
    Queue,
    Settled,
    Stream,
    Synced,
)

QUEUE = "q"
STREAM = "p"
MORTAL = Queue(t=0, name=QUEUE, dead_letters="graves")
GRAVES = Queue(t=0, name="graves")
BRIEF = Queue(t=0, name=QUEUE, dead_letters="graves", expires=True)


class Story:
    """Records in the order in which they are told; each is a hundredth of a second after the one before."""

    def __init__(self, *queues: Queue, goes_to: tuple[str, ...] = (QUEUE,), claims: tuple[str, ...] = ()) -> None:
        self.now = 0.0
        self.records: list[AnyRecord] = []
        self.tell(Began(t=0, seed=1, nodes=3, wall=0, claims=claims, gap_max=5.0))
        for queue in queues or (Queue(t=0, name=QUEUE),):
            self.tell(queue)
        self.tell(Stream(t=0, s=STREAM, node=1, queues=goes_to))

    def tell(self, record: AnyRecord) -> None:
        self.now += 0.01
        self.records.append(msgspec.structs.replace(record, t=self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def publish(self, first: int = 1, end: int = 2, *, confirmed: bool = True) -> None:
        self.tell(Published(t=0, s=STREAM, first=first, end=end))
        if confirmed:
            self.tell(Confirmed(t=0, s=STREAM, first=first, end=end))

    def consumer(self, name: str, node: int = 0, queue: str = QUEUE) -> None:
        self.tell(Consuming(t=0, k=name, node=node, queue=queue))

    def leave(self, name: str) -> None:
        self.tell(ConsumerEnded(t=0, k=name, orderly=True))

    def deliver(self, name: str, number: int = 1, **more: Any) -> None:
        self.tell(Delivered(t=0, k=name, s=STREAM, n=number, **more))

    def settle(self, name: str, number: int = 1, how: How = "ack", *, synced: bool = True) -> None:
        self.tell(Settled(t=0, k=name, how=how, m=((STREAM, number),)))
        if synced:
            self.tell(Synced(t=0, k=name, asked=self.now))

    def fault(
        self,
        number: int,
        *,
        nodes: tuple[int, ...],
        state: Literal["began", "mended", "over"] = "began",
        minority: tuple[int, ...] = (),
        kind: str = "kill-one",
    ) -> None:
        if state == "began":
            self.tell(FaultBegan(t=0, number=number, kind=kind, nodes=nodes, down=nodes, minority=minority))
        elif state == "mended":
            self.tell(FaultMended(t=0, number=number))
        else:
            self.tell(FaultOver(t=0, number=number))

    def verdict(self) -> Verdict:
        # As a run writes it and reads it again.
        decoder = msgspec.json.Decoder(AnyRecord)
        return judge([decoder.decode(msgspec.json.encode(record)) for record in self.records])[1]

    def finding(self, name: str) -> Finding:
        return next(one for one in self.verdict().findings if one.name == name)

    def broken(self) -> tuple[str, ...]:
        return self.verdict().broken


def well() -> Story:
    """One message, from publish to a committed ack."""
    story = Story()
    story.consumer("c")
    story.publish()
    story.deliver("c")
    story.settle("c")
    return story


def mortal(queue: Queue = MORTAL) -> Story:
    """A message in a queue whose dead go to graves; "c" consumes from the one, "g" from the other."""
    story = Story(queue, GRAVES)
    story.consumer("c")
    story.consumer("g", node=2, queue="graves")
    story.publish()
    return story
