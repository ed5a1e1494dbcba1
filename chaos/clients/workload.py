"""What the clients of a run do, as all of them are told: where the nodes are, which queues there are, what goes where.

Law: clients share nothing but this document. SIGUSR1 tells a client to publish no more and to answer for everything it
gets; SIGTERM to end in order.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from chaos import history
from chaos.clients.body import is_intact
from chaos.history import NO_COUNT, Delivered
from chaos.history_file import HistoryWriter

USER = PASSWORD = "chaos"
HANDSHAKE_SECONDS = 5.0
RETRY_SECONDS = 0.1
HEARTBEAT_SECONDS = 20
PREFETCH_COUNT = 200


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int


class QueuePlan(msgspec.Struct, frozen=True, kw_only=True):
    """A queue and how its consumers behave.

    held_seconds: from a delivery to its answer. requeue, reject: shares of first deliveries that are given back, or
    refused for good. cancel_seconds: a consumer goes and comes again so often; 0: never. prefetch_count: so many
    deliveries at most wait for its answer.
    """

    traits: history.Queue
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    consumers: tuple[int, ...] = ()
    """Nodes."""
    held_seconds: float = 0.05
    requeue: float = 0.0
    reject: float = 0.0
    cancel_seconds: float = 0.0
    prefetch_count: int = PREFETCH_COUNT
    is_deep: bool = False
    """Nobody consumes it until publishing has stopped."""
    client: str = "steady"
    """Which client process consumes it."""

    @property
    def name(self) -> str:
        return self.traits.name


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a publisher on each of `nodes` sends `rate` messages a second to."""

    exchange: str
    routing_key: str
    queues: tuple[str, ...]
    nodes: tuple[int, ...]
    rate: float
    body_bytes: int = 256
    client: str = "steady"
    in_transactions: bool = False
    backlog: int = 0
    """Messages, on all nodes together, that are published as fast as they are confirmed before it keeps to its rate."""
    is_deduplicated: bool = False
    """What has no answer when its connection breaks is published again, with the same key."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """`directory` is where histories go."""

    directory: str
    seed: int
    nodes: tuple[Address, ...]
    queues: tuple[QueuePlan, ...]
    routes: tuple[Route, ...]


def save(workload: Workload, path: Path) -> None:
    path.write_bytes(msgspec.json.encode(workload))


def load(path: Path) -> Workload:
    return msgspec.json.decode(path.read_bytes(), type=Workload)


class Orders:
    """What the client has been told so far."""

    def __init__(self) -> None:
        self.publishes = True
        self.is_over = False
        signal.signal(signal.SIGUSR1, self._stop)
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run decides

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.publishes = False

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.publishes = False
        self.is_over = True


class Progress(msgspec.Struct):
    """Where a client stands. `waiting`: published and undecided on open channels; `held`: delivered, not answered."""

    published: int = 0
    confirmed: int = 0
    delivered: int = 0
    waiting: int = 0
    held: int = 0


class Chronicle:
    """A client's history and its progress, which whoever runs it looks at."""

    def __init__(self, workload: Workload, name: str) -> None:
        directory = Path(workload.directory)
        self.name = name
        self.progress = Progress()
        self._writer = HistoryWriter(directory, name)
        self._path = directory / f"{name}.progress"
        self._count = 0

    def write(self, record: history.Record) -> None:
        self._writer.write(record)

    def fresh(self, kind: str) -> str:
        """A name that nobody else has."""
        self._count += 1
        return f"{self.name}-{kind}{self._count}"

    def report(self) -> None:
        """Make progress visible."""
        draft = self._path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(self.progress))
        os.replace(draft, self._path)
        self._writer.flush()

    def delivered(self, consumer: str, body: bytes, headers: dict[str, Any], *, redelivered: bool) -> Delivered:
        """Take down a delivery."""
        found = is_intact(body)
        deaths = headers.get("x-death") or [{}]
        count = headers.get("x-delivery-count", NO_COUNT)
        record = Delivered(
            t=time.monotonic(),
            k=consumer,
            s=found[0] if found else "",
            n=found[1] if found else 0,
            redelivered=redelivered,
            count=int(count),
            intact=found is not None,
            died=_text(deaths[0].get("reason", "")),
            from_queue=_text(deaths[0].get("queue", "")),
        )
        self.write(record)
        self.progress.delivered += 1
        return record

    def close(self) -> None:
        self.report()
        self._writer.close()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def read_progress(directory: Path) -> Progress:
    """Of all clients together."""
    total = Progress()
    for path in sorted(directory.glob("*.progress")):
        one = msgspec.json.decode(path.read_bytes(), type=Progress)
        for name in Progress.__struct_fields__:
            setattr(total, name, getattr(total, name) + getattr(one, name))
    return total
