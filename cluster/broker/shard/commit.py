"""A home node carries a transaction over several shards: prepare the others, decide in one, tell the others (ADR 9).

Law: pure. The lowest shard is the coordinator; nobody but this decides, and only when all others have prepared. What
answers one message twice is refused: all that comes of the two would be there, and the message once. Until it is
decided it can be given up; after that it goes on, whatever becomes of the client, until all parts are applied. If the
node dies, the leaders of the shards bring it to its one end without it (see arbiter.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from cluster.broker.shard.part import Part
from cluster.broker.shard.tx_ops import Refusal, TxOp

if TYPE_CHECKING:
    from cluster.broker.shard.stream import ShardStream


class Stage(Enum):
    PREPARING = 1
    DECIDING = 2
    """Nobody here knows how it ends."""
    CONCLUDING = 3
    """Committed, and not yet applied everywhere."""
    DONE = 4
    FAILED = 5
    """Nothing of it is or will be carried out."""


class CommitSink(Protocol):
    """Who is told how far it is. Called from inside `ShardStream.receive`, or `Commit.give_up`."""

    def stage(self, stage: Stage) -> None:
        """It has come to this stage."""


class Commit:
    """One transaction. `refusal` says why it failed; None if it was given up."""

    def __init__(
        self,
        number: int,
        parts: Mapping[ShardStream, Part],
        sink: CommitSink,
        stirred: Callable[[ShardStream], None],
    ) -> None:
        """`number` is unique in the life of the node; stirred(stream): it has something to say."""
        self.stage = Stage.PREPARING
        self.refusal: Refusal | None = None
        self._number = number
        self._parts = parts
        self._sink = sink
        self._stirred = stirred
        self._coordinator, *self._others = sorted(parts, key=lambda stream: stream.shard)
        self._waiting = 0
        """Streams that have not answered in this stage."""

    def start(self) -> None:
        if any(part.answers_twice for part in self._parts.values()):
            self.refusal = Refusal.TAKEN
            self._enter(Stage.FAILED)
            return
        if not self._others:
            self._decide()
            return
        self._waiting = len(self._others)
        for stream in self._others:
            rows = [TxOp.PREPARE, self._number, self._coordinator.shard]
            stream.part(rows, self._parts[stream], self)
            self._stirred(stream)

    def give_up(self) -> bool:
        """Is it early enough to call it off? Then that is done."""
        if self.stage is not Stage.PREPARING:
            return False
        self._fail(None)
        return True

    def told(self, refusal: Refusal | None) -> None:
        """`PartSink`: a stream has an answer."""
        if self.stage is Stage.FAILED:
            return
        if refusal is not None:
            self._fail(refusal)
            return
        self._waiting -= 1
        if self._waiting:
            return
        match self.stage:
            case Stage.PREPARING:
                self._decide()
            case Stage.DECIDING:
                self._conclude()
            case _:
                self._done()

    def _decide(self) -> None:
        self._waiting = 1
        rows = [n for shard in [s.shard for s in self._others] or [0] for n in (TxOp.DECIDE, self._number, shard)]
        self._coordinator.part(rows, self._parts[self._coordinator], self)
        self._stirred(self._coordinator)
        self._enter(Stage.DECIDING)

    def _conclude(self) -> None:
        self._waiting = len(self._others)
        for stream in self._others:
            stream.conclude(TxOp.COMMIT, self._number, self._parts[stream], self)
            self._stirred(stream)
        self._enter(Stage.CONCLUDING)
        if not self._others:
            self._enter(Stage.DONE)

    def _done(self) -> None:
        self._coordinator.conclude(TxOp.FORGET, self._number)
        self._stirred(self._coordinator)
        self._enter(Stage.DONE)

    def _fail(self, refusal: Refusal | None) -> None:
        """What is given back after this is given back behind the end of the transaction."""
        self.refusal = refusal
        for stream in self._others:
            stream.conclude(TxOp.ABORT, self._number)
            self._stirred(stream)
        self._enter(Stage.FAILED)

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self._sink.stage(stage)
