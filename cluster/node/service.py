"""A node at the service of clients: its doors, how it leaves service, and how it comes back.

Law: whoever is told to go comes back at once, so the doors are closed before anybody is told. A drained node serves
nobody, and leads nothing that another node can lead; it still votes and keeps its copies. The other nodes know, and
give it no leaderships until it is revived or starts again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from cluster.amqp.errors import connection_forced
from cluster.node.admin.report import Phase
from cluster.node.amqp.broker import Broker
from cluster.node.amqp.busy_poll import BusyPoll, busy_polling
from cluster.node.amqp.listener import Door, accept_clients
from cluster.node.balance import hand_over_all
from cluster.node.config import NodeConfig
from cluster.node.core import Core
from cluster.node.links import open_listener
from cluster.node.logging import get_logger
from cluster.node.opening import LeftBehind, note_left
from cluster.node.tls import Certificates

SHUTDOWN = "broker forced connection closure with reason 'shutdown'"
MAINTENANCE = "Node was put into maintenance mode"
_FAREWELL_SECONDS = 1.0
"""For the clients' answers to connection.close."""
_BACKLOG = 1024
"""Clients that may wait to be accepted."""


def open_doors(config: NodeConfig, certificates: Certificates | None) -> list[Door]:
    """The addresses of the client listeners, taken; who connects is refused. Raises OSError."""
    amqp = config.amqp
    wanted: list[tuple[int, Certificates | None]] = [(amqp.port, None)]
    if certificates is not None:
        wanted.append((amqp.tls_port, certificates))
    doors: list[Door] = []
    try:
        for port, sealed_by in wanted:
            if port:
                listener = open_listener(amqp.host, port, listening=False)
                doors.append(Door(listener, amqp.proxy_protocol, sealed_by))
    except OSError:
        _close(doors)
        raise
    return doors


def _close(doors: Sequence[Door]) -> None:
    for door in doors:
        door.listener.close()


class Service:
    """Of one node. Made when the node's ports are taken, before it can serve."""

    def __init__(
        self,
        config: NodeConfig,
        core: Core,
        broker: Broker,
        certificates: Certificates | None,
        doors: Sequence[Door],
    ) -> None:
        self.phase: Phase = "starting"
        self.waiting_for = ""
        self._config = config
        self._core = core
        self._broker = broker
        self._certificates = certificates
        self._doors = doors
        self._accepting = trio.CancelScope()
        self._leaving = trio.CancelScope()
        self._nursery: trio.Nursery
        self._busy_poll: BusyPoll
        self._log = get_logger("node")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve clients until cancelled; `started` when they are let in."""
        with busy_polling(self._config.amqp.busy_poll_microseconds / 1e6) as self._busy_poll:
            async with trio.open_nursery() as self._nursery:
                self._open()
                task_status.started()
                await trio.sleep_forever()

    def _open(self) -> None:
        for door in self._doors:
            door.listener.listen(_BACKLOG)
        self._accepting = trio.CancelScope()
        self._nursery.start_soon(accept_clients, self._doors, self._broker, self._accepting, self._busy_poll)
        self.phase = "running"

    # ---- operators

    def drain(self) -> None:
        """Begin to leave service, if that has not begun. `phase` tells when it is done."""
        if self.phase == "running":
            self._log.info("draining")
            self._nursery.start_soon(self.leave, MAINTENANCE)

    def revive(self) -> None:
        """Back into service, if this node is not in it. Raises OSError when a port is taken."""
        if self.phase in ("draining", "drained"):
            doors = open_doors(self._config, self._certificates)
            self._leaving.cancel()
            self._doors = doors
            self._core.aside.announce(False)
            self._open()
            self._log.info("revived")

    def dismiss(self, text: str) -> None:
        """The node is no member any more: it serves nobody, and stays to say so.

        Raises LeftBehind where it is to join anew and was none when it started: the next start does.
        """
        if self.phase == "left":
            return
        if self._config.cluster.rejoin:
            note_left(self._config.data_dir)
            if self.phase == "starting":
                raise LeftBehind(f"{text}: it joins anew when it is started again")
        how = "start it again" if self._config.cluster.rejoin else "empty its data directory"
        self.phase, self.waiting_for = "left", f"{text}: {how} to let it join anew"
        self._log.error("this node serves nobody any more", reason=self.waiting_for)
        self._accepting.cancel()
        error = connection_forced(SHUTDOWN)
        for connection in list(self._broker.connections.values()):
            connection.fail(error)

    async def leave(self, reason: str) -> None:
        """Close the doors, tell the clients why (320), and hand over what others can lead, however long that takes.

        Harmless when it is done already.
        """
        core, broker = self._core, self._broker
        self.phase = "draining"
        # The listeners close when the task that waits at them has its turn.
        self._accepting.cancel()
        core.client.freshness.void()
        core.aside.announce(True)
        with trio.CancelScope() as self._leaving:
            await trio.lowlevel.checkpoint()
            error = connection_forced(reason)
            for connection in list(broker.connections.values()):
                connection.fail(error)
            await _until(lambda: all(s.quiet or not s.leader for s in core.switchboard.streams.values()))
            await _until(lambda: hand_over_all(core))
            with trio.move_on_after(_FAREWELL_SECONDS):
                await _until(lambda: not broker.connections)
            self.phase = "drained"
            self._log.info("drained")


async def _until(condition: Callable[[], bool]) -> None:
    """Looks a hundred times a second: nothing of this tells when it is done, and it happens once in a life."""
    while not condition():  # noqa: ASYNC110 - see above
        await trio.sleep(0.01)
