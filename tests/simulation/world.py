"""A whole cluster and its clients, from one seed: nodes, disks, network, faults, and what is checked.

Law: everything random comes from the seed and everything timed from virtual time, so a seed is one history; `trace` is
the hash of it. First everything goes wrong for a while, then everything is mended: within `progress_seconds` every
publish must be answered, within `DRAIN_SECONDS` more every message delivered and settled, and every replica the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from struct import Struct
from typing import Any, TypeVar

import trio

from cluster.amqp import methods as m
from cluster.amqp.field_table import FieldTable
from cluster.node.bootstrap import Charter
from cluster.node.catalog import snapshots as catalog_snapshots
from cluster.node.config import PeerSpec
from cluster.node.core import Core
from cluster.node.kinds import Kind
from cluster.raft.types import GroupId, NodeId
from tests.patched import patched
from tests.simulation import scheduling
from tests.simulation.actors import Consumer
from tests.simulation.agenda import Agenda
from tests.simulation.casts import CASTS, Cast
from tests.simulation.chronicle import Chronicle
from tests.simulation.client import Client, Gone, Refused
from tests.simulation.disk import Disk
from tests.simulation.faults import Faults
from tests.simulation.movers import WORK
from tests.simulation.network import Network
from tests.simulation.oracle import DEAD, Oracle, Tally
from tests.simulation.process import Process
from tests.simulation.replicas import Replicas
from tests.simulation.rest import Rest
from tests.simulation.sockets import waiting_for_memory_sockets
from tests.simulation.traits import PLANS, TOGETHER, TOGETHER_EXCHANGE

SHARDS = 2
QUEUES = 4
MORTAL = 2
"""Queues whose rejected messages become dead letters."""
CATALOG_LOG_BYTES = 5000
"""Between two snapshots of the catalog."""
DRAIN_SECONDS = 120.0
"""And within this time more all is delivered and settled, by clients that took their time before."""
_START_SECONDS = 30.0
_LOOK_SECONDS = 0.2
_CONNECT_PAUSE_SECONDS = 0.25
_PAUSE_SECONDS_MAX = 5.0
"""Of a client that does little: when everything ends it has to notice in time."""

_ARRIVAL = Struct("<QQd")
_CONSENSUS = [0, int(Kind.RAFT)]
"""How a message between nodes begins that is for their groups."""
W = TypeVar("W", bound="World")


@dataclass(frozen=True, slots=True)
class History:
    """What became of a seed: the hash of everything that happened, and numbers."""

    seed: int
    trace: str
    tally: Tally
    faults: tuple[str, ...]
    messages: int
    """Between nodes."""
    checks: Counter[str]
    """How often each promise was looked at."""
    healed_seconds: float
    """From the end of all faults until everything was answered, delivered and settled."""


class World:
    """A subclass may have more nodes, and take more time."""

    node_count = 3
    progress_seconds = 15.0
    """After the last fault every publish is answered within this time."""

    def __init__(
        self,
        seed: int,
        say: Callable[[str], object],
        agenda: Agenda,
        cast: Cast = "common",
        pace: float = 1.0,
        kinds: Sequence[str] = (),
    ) -> None:
        self.seed = seed
        self.cast = cast
        self.kinds = kinds
        """Of faults; none: the seed picks."""
        self.pace = pace
        """Of the clients, not of the faults: a fraction of what they publish, declare and move otherwise."""
        self.places = list(range(1, self.node_count + 1))
        """Where clients connect to."""
        self.nodes = list(self.places)
        """Who is there, in the order of places: a place may get another tenant."""
        members = tuple(PeerSpec(f"n-{node}", f"host-{node}", 25672) for node in self.nodes)
        self.charter = Charter("simulated", members, SHARDS)
        self.agenda = agenda
        self.checks: Counter[str] = Counter()
        self.oracle = Oracle(judged_by_moves=WORK, checks=self.checks)
        self.replicas = Replicas(self._promised, self.checks)
        self.chronicle = Chronicle()
        self.expiring: dict[str, None] = {}
        """Streams of messages that have a time to live of their own."""
        self.glanced: dict[str, None] = {}
        """Streams to queues whose consumers answer for nothing."""
        self.entry_bytes = 0
        """The wished size of an entry; 0: as nodes wish."""
        self.network = Network(self.agenda, Random(f"network {seed}"), self._arrived)
        self.processes: dict[int, Process] = self.network.processes
        self.disks = {
            node: Disk(self.agenda, Random(f"disk {node} {seed}"), self.charter.first_writes(NodeId(node)))
            for node in self.nodes
        }
        self.skews_ms = dict.fromkeys(self.nodes, 0)
        """How far the wall clocks of the nodes are off."""
        self.clocks_differ = False
        """Has one been set? What goes by it makes up for that little by little."""
        self.queues = [f"q{i}" for i in range(QUEUES)]
        self.mortal = self.queues[:MORTAL]
        lasting = (*self.queues, DEAD, WORK, *[plan.name for plan in PLANS])
        self._rest = Rest(self.processes, self.disks, self.node_count, lasting, self.checks)
        self.gone: dict[int, None] = {}
        """Nodes that were replaced by others."""
        self.rots = True
        """May stored entries rot?"""
        self._healed_seconds = 0.0
        self.draining = False
        self._say = say
        self._lives = dict.fromkeys(self.nodes, 0)
        self._trace = blake2b(digest_size=8)
        self._messages = 0
        self._nursery: trio.Nursery
        self._gate: scheduling.Gate

    # ---- what happens

    def note(self, text: str) -> None:
        """Part of the history, and said to who listens."""
        line = f"{trio.current_time() - scheduling.BEGINNING_SECONDS:9.4f} {text}"
        self._trace.update(line.encode())
        self._say(line)

    def _arrived(self, source: int, target: int, what: list[Any], octets: bytes) -> None:
        self._messages += 1
        self._trace.update(_ARRIVAL.pack(source, target, trio.current_time()))
        self._trace.update(octets)
        if what[:2] == _CONSENSUS:
            self.replicas.arrived(what[2])

    def _promised(self, node: int, group: int) -> tuple[int, int]:
        hard_state = self.disks[node].store.group(GroupId(group)).state.hard_state
        return hard_state.term, hard_state.vote

    def charter_of(self, node: int) -> Charter:
        """What this node's disk says of the cluster."""
        return self.charter

    def name_of(self, node: int) -> str:
        return self.charter.members[node - 1].name

    def watch(self, process: Process, core: Core) -> None:
        """A process has made its core."""
        self.replicas.watch(process.node, core, lambda: process.alive)

    # ---- nodes

    def start(self, node: int) -> None:
        """Unless it runs, by another's hand, or has been replaced."""
        if node in self.processes or node in self.gone:
            return
        self._lives[node] += 1
        self.note(f"node {node} starts life {self._lives[node]}")
        process = self.processes[node] = Process(self, node, self._lives[node])
        process.start(self._nursery)

    def kill(self, node: int) -> None:
        self.note(f"node {node} crashes")
        process = self.processes.pop(node)
        process.kill()
        process.wake()
        self._gate.resume(node)
        self.disks[node].crash()
        self.network.gone(node)

    def pause(self, node: int) -> None:
        self.note(f"node {node} stands still")
        self.processes[node].paused = True
        self._gate.pause(node)

    def resume(self, process: Process) -> None:
        if process.alive and process.paused:
            self.note(f"node {process.node} goes on")
            self._gate.resume(process.node)
            process.wake()
            self.network.awake(process.node)

    def stop(self, node: int) -> Process:
        """SIGTERM: the node leaves in order, and is gone when that is done. Returns its process."""
        self.note(f"node {node} is told to stop")
        process = self.processes[node]

        def left() -> None:
            if self.processes.get(node) is process:
                process.has_left = True
                self.kill(node)

        process.stop(lambda: self.agenda.after(0.0, left))
        return process

    async def connect(self, place: int) -> Client | None:
        """A client of the node there, not yet open; None, after a moment, if it is refused."""
        process = self.processes.get(self.nodes[place - 1])
        sock = process.accept() if process is not None else None
        if sock is None:
            await trio.sleep(_CONNECT_PAUSE_SECONDS)
            return None
        client = Client(sock)
        self._nursery.start_soon(client.run)
        return client

    # ---- the play

    async def play(self, seconds: float) -> History:
        """Raises AssertionError, alone or in groups, for a promise that is broken."""
        with waiting_for_memory_sockets(), patched(catalog_snapshots, "SNAPSHOT_BYTES", CATALOG_LOG_BYTES):
            async with trio.open_nursery() as self._nursery:
                self._gate = scheduling.install_gate()
                self._nursery.start_soon(self.agenda.run)
                try:
                    faults = await self._play(seconds)
                finally:
                    self._gate.resume_all()
                self._nursery.cancel_scope.cancel()
        return History(
            seed=self.seed,
            trace=self._trace.hexdigest(),
            tally=self.oracle.tally,
            faults=tuple(faults.kinds),
            messages=self._messages,
            checks=self.checks,
            healed_seconds=self._healed_seconds,
        )

    async def _play(self, seconds: float) -> Faults:
        nursery = self._nursery
        await self._set_up()
        players = CASTS[self.cast](self)
        for actor in (*players.awaited, *players.others):
            nursery.start_soon(actor.run)
        self._begin(nursery)
        faults = Faults(self)
        self.note(f"faults: {' '.join(faults.kinds)}")
        with trio.move_on_after(seconds):
            await faults.run()
        self.note("everything is mended")
        mended_at = trio.current_time()
        faults.mend()
        self.draining = True
        for i, queue in enumerate((*self.queues, DEAD)):
            nursery.start_soon(Consumer(self, f"d{i}", self.places[i % self.node_count], queue).run)
        await self._within(
            self.progress_seconds, lambda: all(actor.done for actor in players.awaited), "publishers end"
        )
        await self._within(DRAIN_SECONDS, self._at_rest, "everything is settled")
        self._healed_seconds = trio.current_time() - mended_at
        self.oracle.nothing_is_lost()
        self.checks += self.chronicle.judged()
        self.note("at rest")
        return faults

    async def _set_up(self) -> None:
        """Nodes that serve, and the queues."""
        self.network.connect(tuple(self.nodes))
        for node in self.nodes:
            self.start(node)
        await self._within(_START_SECONDS, lambda: all(p.serving for p in self.processes.values()), "nodes serve")
        await self._declare()

    def _begin(self, nursery: trio.Nursery) -> None:
        """Something more that happens meanwhile."""

    async def _declare(self) -> None:
        client = None
        while client is None:
            client = await self.connect(self.places[0])
        try:
            await client.open()
            for queue in (*self.queues, DEAD, WORK):
                arguments: FieldTable = {}
                if queue in self.mortal:
                    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
                await client.call(m.QueueDeclare(queue, False, True, False, False, False, arguments), m.QueueDeclareOk)
            if self.cast in ("traits", "full"):
                await self._declare_traits(client)
            await client.close()
        except (Gone, Refused) as error:
            raise AssertionError("the queues could not be declared") from error

    async def _declare_traits(self, client: Client) -> None:
        """Raises Gone, Refused."""
        for plan in PLANS:
            declare = m.QueueDeclare(plan.name, False, True, False, False, False, plan.arguments)
            await client.call(declare, m.QueueDeclareOk)
        exchange = m.ExchangeDeclare(TOGETHER_EXCHANGE, "fanout", False, True, False, False, False, {})
        await client.call(exchange, m.ExchangeDeclareOk)
        for queue in TOGETHER:
            await client.call(m.QueueBind(queue, TOGETHER_EXCHANGE, "", False, {}), m.QueueBindOk)

    async def idle(self, random: Random, rate: float) -> None:
        """Of a client that does something `rate` times a second on average at a pace of 1."""
        await trio.sleep(min(random.expovariate(rate * self.pace), _PAUSE_SECONDS_MAX))

    async def _within(self, seconds: float, condition: Callable[[], bool], what: str) -> None:
        with trio.move_on_after(seconds):
            while not condition():  # noqa: ASYNC110 - nothing tells when it is done
                await trio.sleep(_LOOK_SECONDS)
            return
        raise AssertionError(f"not within {seconds} s: {what}; {self._rest.account()}")

    def _at_rest(self) -> bool:
        """A subclass may ask for more."""
        return self._rest.is_reached()


def play(
    kind: type[W],
    seed: int,
    *,
    seconds: float = 20.0,
    cast: Cast = "common",
    pace: float = 1.0,
    kinds: Sequence[str] = (),
    say: Callable[[str], object] = lambda line: None,
    plant: Callable[[W], object] = lambda world: None,
) -> tuple[History, W]:
    """One history, and the world that it was of. `plant` may spoil that before it begins.

    Raises AssertionError, or a group with one in it.
    """

    async def main(agenda: Agenda) -> tuple[History, W]:
        world = kind(seed, say, agenda, cast, pace, kinds)
        plant(world)
        return await world.play(seconds), world

    played: tuple[History, W] = scheduling.run(main, seed)
    return played


def simulate(seed: int, **more: Any) -> History:
    """`play` of a world in which everybody stays where it is."""
    return play(World, seed, **more)[0]


def reasons(error: BaseException) -> list[BaseException]:
    """What is in groups, one by one."""
    if isinstance(error, BaseExceptionGroup):
        return [reason for inner in error.exceptions for reason in reasons(inner)]
    return [error]
