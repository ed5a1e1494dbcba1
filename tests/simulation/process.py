"""One life of a node: the real core, broker and sessions on a simulated disk and network.

Law: what a node is made of is what `cluster.node.node` makes it of, less the sockets, the threads and the clock. When
it is killed nothing of it is heard or kept any more but what its disk has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from random import Random
from typing import TYPE_CHECKING, Any

import trio

from cluster.amqp.settings import ConnectionSettings
from cluster.broker.catalog import commands as c
from cluster.broker.catalog.outcome import Change
from cluster.node.amqp.broker import Broker, BrokerLimits
from cluster.node.amqp.connection import Connection
from cluster.node.amqp.eviction import evict
from cluster.node.amqp.login import Login
from cluster.node.balance import balance
from cluster.node.bootstrap import Charter
from cluster.node.catalog.client import NoQuorum
from cluster.node.config import NodeConfig
from cluster.node.config.model import LimitsSection, NodeSection, RaftSection
from cluster.node.core import Core
from cluster.node.departed import watch_departed
from cluster.node.kinds import Kind
from cluster.node.lag import Lag
from cluster.node.links import RequestError
from cluster.node.service import SHUTDOWN, Service
from cluster.node.shards.host import HostLimits
from cluster.raft.storage import StorageCorrupt, StorageIO
from cluster.raft.types import NodeId
from tests.simulation.network import Handler, SimulatedLinks
from tests.simulation.scheduling import PROCESS
from tests.simulation.sockets import MemorySocket, socket_pair

if TYPE_CHECKING:
    from tests.simulation.world import World

_WALL_MS = 1_700_000_000_000


class TrustingBroker(Broker):
    """Compares no passwords: that takes a thread."""

    async def judge_login(self, peer: str, username: str, password: bytes) -> Login:
        return Login.ACCEPTED if username in self.catalog.users else Login.REFUSED


class Starting:
    """Answers for a node that has no core yet."""

    def message(self, peer: NodeId, kind: int, body: Any) -> None: ...

    def request(self, peer: NodeId, kind: int, body: Any) -> Any:
        raise RequestError("starting")

    def link_up(self, peer: NodeId, incarnation: int) -> None: ...

    def link_down(self, peer: NodeId, reason: str) -> None: ...


class Process:
    """`core` is there from the start of `run`; clients are let in while `serving`."""

    def __init__(self, world: World, node: int, incarnation: int) -> None:
        self.node = node
        self.incarnation = incarnation
        self.paused = False
        self.alive = True
        self.serving = False
        self.has_left = False
        """Has it ended in order?"""
        self.handler: Handler = Starting()
        self.core: Core | None = None
        self.broker: Broker | None = None
        self._world = world
        self._asleep: deque[Callable[[], None]] = deque()
        self._sockets: dict[MemorySocket, None] = {}
        self._context: Context = copy_context()
        self._context.run(PROCESS.set, node)
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._random = Random(f"process {world.seed} {node} {incarnation}")
        self._links = SimulatedLinks(world.network, node)
        self._accepted = 0

    # ---- life

    def start(self, nursery: trio.Nursery) -> None:
        self._context.run(nursery.start_soon, self._run)

    async def _run(self) -> None:
        world = self._world
        try:
            await self._live()
        except BaseExceptionGroup as group:
            disk = world.disks[self.node]
            _, others = group.split(StorageCorrupt if disk.is_lost else StorageIO)
            if others is not None or not (disk.is_lost or disk.errors):
                raise
            # A disk that fails ends its node.
            world.agenda.after(0.0, self._ended)

    def _ended(self) -> None:
        if self._world.processes.get(self.node) is self:
            self._world.kill(self.node)

    async def _live(self) -> None:
        world = self._world
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                charter, disk = world.charter_of(self.node), world.disks[self.node]
                writer = disk.start(self.when_awake)
                config = _config(world.name_of(self.node), world.seed)
                core = self.core = Core(
                    config=config,
                    charter=charter,
                    node=NodeId(self.node),
                    incarnation=self.incarnation,
                    storage=disk.store,
                    links=self._links,  # type: ignore[arg-type]
                    writer=writer,
                    random=Random(f"elections {world.seed} {self.node} {self.incarnation}"),
                    wall_clock_ms=self._wall_clock_ms,
                )
                self._compact_often(core)
                if world.entry_bytes:
                    core.runtime._proposals._bytes_max = world.entry_bytes
                broker = self.broker = _broker(config, core, self._links, nursery)
                core.turns.on_round = broker.flush
                core.on_direct_reply = broker.replies.receive
                core.on_storage_full = lambda full: broker.set_alarm("low on disk" if full else "")
                core.requests[Kind.CENSUS] = broker.census.give

                def catalog_changed(changes: list[Change]) -> None:
                    broker.catalog_changed()
                    evict(broker, changes)

                core.on_catalog = catalog_changed
                world.watch(self, core)
                self.handler = core
                await nursery.start(self._work, core)
                nursery.start_soon(Lag(core).watch)
                await self._join(core, charter)
                nursery.start_soon(balance, core)
                nursery.start_soon(watch_departed, core, broker)
                assert not disk.is_lost, f"node {self.node} serves and does not know whom it voted for"
                self.serving = True
                world.note(f"node {self.node} serves in life {self.incarnation}")

    async def _work(self, core: Core, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Once consensus has ended, nobody is let in or heard."""
        try:
            await core.run(task_status=task_status)
        finally:
            self.alive = self.serving = False

    def _compact_often(self, core: Core) -> None:
        """Snapshots come after a few entries instead of thousands, so that logs end and replicas must be sent one."""
        for host in core.switchboard.hosts():
            host._host_limits = HostLimits(
                snapshot_bytes=self._random.choice((5_000, 50_000)),
                snapshot_entries=self._random.choice((5, 40, 300)),
                resting_dead_entries=self._random.choice((1, 20)),
            )

    async def _join(self, core: Core, charter: Charter) -> None:
        while True:
            try:
                await core.client.catch_up()
                if not core.catalog.catalog.cluster_id:
                    if not charter.members:
                        raise NoQuorum("the catalog is not here yet")
                    await core.client.submit(_founding(core, charter))
                worked = f"worked.{core.node}"
                if worked not in core.catalog.catalog.settings:
                    await core.client.submit(c.PutSetting(worked, True))
                if core.incarnation > 1:
                    await core.client.submit(c.NodeGone(core.node, core.incarnation - 1))
                return
            except NoQuorum:
                continue

    def stop(self, left: Callable[[], None]) -> None:
        """SIGTERM, to a process that serves. `left` runs when it is out of service; nobody is let in meanwhile."""
        self.serving = False
        self.within(lambda: self.start_soon(self._leave, left))

    async def _leave(self, left: Callable[[], None]) -> None:
        assert self.core is not None
        assert self.broker is not None
        config = _config(self._world.name_of(self.node), self._world.seed)
        service = Service(config, self.core, self.broker, None, ())
        with trio.move_on_after(config.node.drain_timeout_seconds):
            await service.leave(SHUTDOWN)
        left()

    def kill(self) -> None:
        """At once, wherever it is."""
        self.alive = self.serving = False
        self._links.close()
        for sock in self._sockets:
            sock.reset()
        self._scope.cancel()

    def _wall_clock_ms(self) -> int:
        return _WALL_MS + int(trio.current_time() * 1000) + self._world.skews_ms.get(self.node, 0)

    # ---- for the simulation

    def within(self, act: Callable[[], None]) -> None:
        """Run an act as this process would."""
        if self.alive:
            self._context.copy().run(act)

    def when_awake(self, act: Callable[[], None]) -> None:
        """The same, as soon as the process is not paused."""
        if self.paused:
            self._asleep.append(act)
        else:
            self.within(act)

    def wake(self) -> None:
        """After a pause: what has waited."""
        self.paused = False
        while self._asleep:
            self.within(self._asleep.popleft())

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: Any) -> None:
        if self.alive and self._nursery is not None:
            self._nursery.start_soon(function, *args)

    def accept(self) -> MemorySocket | None:
        """A client connects: its end of the connection. None if it is refused."""
        if not self.serving or self.paused or self.broker is None:
            return None
        ours, theirs = socket_pair(self._random)
        self._accepted += 1
        number = f"{self.node}.{self.incarnation}.{self._accepted}"
        connection = Connection(ours, "127.0.0.1", number, self.broker, number)  # type: ignore[arg-type]
        self.broker.connections[connection.id] = connection
        self._sockets[ours] = None
        self.within(lambda: self.start_soon(self._serve, connection, ours))
        return theirs

    async def _serve(self, connection: Connection, sock: MemorySocket) -> None:
        await connection.run()
        self._sockets.pop(sock, None)


def _config(name: str, seed: int) -> NodeConfig:
    return NodeConfig(
        node=NodeSection(name=name, data_dir="/nowhere"),
        # So that replicas that were away are sent snapshots in some plays, and go on with the log in others.
        raft=RaftSection(retention_ticks=Random(f"retention {seed}").choice((0, 0, 40, 1200))),
        limits=LimitsSection(payload_memory_max=1 << 20),
    )


def _broker(config: NodeConfig, core: Core, links: SimulatedLinks, nursery: trio.Nursery) -> Broker:
    return TrustingBroker(
        node=core.node,
        incarnation=core.incarnation,
        catalog=core.catalog.catalog,
        client=core.client,
        switchboard=core.switchboard,
        settings=ConnectionSettings(),
        limits=BrokerLimits(
            connection_unconfirmed_max=config.limits.connection_unconfirmed_max,
            connection_outgoing_max=config.limits.connection_outgoing_max,
        ),
        loopback_user="",
        wake=core.turns.ask,
        nursery=nursery,
        links=links,  # type: ignore[arg-type]
    )


def _founding(core: Core, charter: Charter) -> c.FoundCluster:
    return c.FoundCluster(
        charter.cluster_id,
        "simulation",
        tuple([(n, m.name, m.host, m.port) for n, m in enumerate(charter.members, start=1)]),
        tuple([(group, nodes) for group, nodes in core.members.placement.items() if group]),
        "guest",
        "no password",
    )
