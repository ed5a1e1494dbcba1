"""pika, blocking: declares and deletes queues on one node, and looks for them on the others.

Law: one step after the other. A name whose state is not known any more, because an answer never came, is left alone.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, ChannelClosedByBroker

from chaos.clients.workload import (
    HANDSHAKE_SECONDS,
    HEARTBEAT_SECONDS,
    PASSWORD,
    USER,
    Chronicle,
    Orders,
    Workload,
    load,
)
from chaos.history import Defined, Looked

NAME = "definer"
PAUSE_SECONDS = 0.2
CYCLES = 2
"""A name is declared and deleted so often."""
NOT_FOUND = 404
_BROKEN = (AMQPError, AMQPConnectorException, OSError)


class Definer:
    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._orders = Orders()
        self._chronicle = Chronicle(workload, NAME)
        self._random = random.Random(workload.seed + 2)
        self._connections: dict[int, pika.BlockingConnection] = {}

    def run(self) -> None:
        while self._orders.publishes:
            name = self._chronicle.fresh("d")
            for _ in range(CYCLES):
                if not self._step(name, "declare") or not self._look(name):
                    break
                if not self._step(name, "delete") or not self._look(name):
                    break
            self._chronicle.report()
        while not self._orders.is_over:
            time.sleep(PAUSE_SECONDS)
        for connection in self._connections.values():
            self._close(connection)
        self._chronicle.close()

    def _channel(self, node: int) -> BlockingChannel:
        """Raises what cannot be reached."""
        connection = self._connections.get(node)
        if connection is None or not connection.is_open:
            address = self._workload.nodes[node]
            connection = self._connections[node] = pika.BlockingConnection(
                pika.ConnectionParameters(
                    address.host,
                    address.port,
                    credentials=pika.PlainCredentials(USER, PASSWORD),
                    heartbeat=HEARTBEAT_SECONDS,
                    socket_timeout=HANDSHAKE_SECONDS,
                    stack_timeout=HANDSHAKE_SECONDS,
                    blocked_connection_timeout=HANDSHAKE_SECONDS,
                )
            )
        return connection.channel()

    def _close(self, connection: pika.BlockingConnection) -> None:
        try:
            connection.close()
        except _BROKEN:
            return

    def _step(self, name: str, op: str) -> bool:
        """Whether it was answered. A node that cannot be reached is not asked; another one is."""
        channel = None
        while channel is None:
            if not self._orders.publishes:
                return False
            node = self._random.randrange(len(self._workload.nodes))
            try:
                channel = self._channel(node)
            except _BROKEN:
                time.sleep(PAUSE_SECONDS)
        asked = time.monotonic()
        known = True
        try:
            if op == "declare":
                channel.queue_declare(name, durable=True)
            else:
                channel.queue_delete(name)
            channel.close()
        except _BROKEN:
            known = False
        self._chronicle.write(
            Defined(
                t=time.monotonic(),
                name=name,
                node=node,
                op="declare" if op == "declare" else "delete",
                asked=asked,
                known=known,
            )
        )
        return known

    def _look(self, name: str) -> bool:
        """On every node that can be reached, at once. Always true: whoever looks changes nothing."""
        nodes = list(range(len(self._workload.nodes)))
        self._random.shuffle(nodes)
        for node in nodes:
            try:
                channel = self._channel(node)
                asked = time.monotonic()
                seen = True
                try:
                    channel.queue_declare(name, passive=True)
                    channel.close()
                except ChannelClosedByBroker as closed:
                    if closed.reply_code != NOT_FOUND:
                        continue
                    seen = False
            except _BROKEN:
                continue
            self._chronicle.write(Looked(t=time.monotonic(), name=name, node=node, asked=asked, seen=seen))
        time.sleep(PAUSE_SECONDS)
        return True


def main() -> int:
    Definer(load(Path(sys.argv[1]))).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
