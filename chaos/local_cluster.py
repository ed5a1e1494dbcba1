"""A real cluster of local processes, whose nodes can be killed, frozen and started again one by one.

Law: every process is a child of this one and ends with it. Whoever waits here waits for a condition with a deadline.
"""

from __future__ import annotations

import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import pika

from cluster.node.dev.child import Child
from cluster.node.dev.layout import HOST, HTTP_OFFSET, PEER_OFFSET, DevNode, plan, write

PROGRAM = (sys.executable, "-m", "cluster.node.main")
READY_SECONDS = 120.0


def program_of(checkout: Path) -> list[str]:
    """What starts a node with the code of another checkout, whatever stands in the working directory."""
    return ["env", f"PYTHONPATH={checkout}", PROGRAM[0], "-P", *PROGRAM[1:]]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Look again and again; AssertionError with `what` when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def free_ports(nodes: int) -> int:
    """A first AMQP port with which all ports of a local cluster are free, and below those that the system gives to who
    connects (from 32,768 on): a connection that comes between this look and the node's start would take one away."""
    for _ in range(200):
        first = random.randrange(7_000, 32_768 - PEER_OFFSET - nodes)
        ports = [first + offset + n for offset in (0, HTTP_OFFSET, PEER_OFFSET) for n in range(nodes)]
        if all(_is_free(port) for port in ports):
            return first
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class LocalCluster:
    """`nodes` node processes on free ports. Use as a context manager. `user` and `password` were founded with it."""

    user = password = "guest"

    def __init__(self, nodes: int = 3, directory: Path | None = None) -> None:
        self._temporary = None if directory else tempfile.TemporaryDirectory(prefix="cluster-")
        self.directory = directory or Path(self._temporary.name)  # type: ignore[union-attr]
        self.nodes: list[DevNode] = self.plan(self.directory, nodes)
        self.children: list[Child | None] = [None] * nodes
        write(self.directory, self.nodes)

    def plan(self, directory: Path, nodes: int) -> list[DevNode]:
        """Where the nodes live."""
        return plan(directory, nodes=nodes, amqp_port=free_ports(nodes))

    def __enter__(self) -> LocalCluster:
        self.start_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            for node in self.nodes:
                print(f"--- {node.name}\n" + "\n".join(self.log(self.nodes.index(node)).splitlines()[-30:]))
        for index in range(len(self.nodes)):
            self.kill(index)
        if self._temporary is not None:
            self._temporary.cleanup()

    def start_all(self) -> None:
        """Start what does not run, and wait until all are ready."""
        for index, child in enumerate(self.children):
            if child is None:
                self.start(index)
        self.wait_ready()

    def start(self, index: int) -> None:
        self.children[index] = Child(self.nodes[index], PROGRAM)

    def wait_ready(self, *indexes: int, seconds: float = READY_SECONDS) -> None:
        """Until these nodes (all, if none is named) answer `/readyz` with 200."""
        for index in indexes or range(len(self.nodes)):
            what = f"{self.nodes[index].name} ready"
            wait_until(lambda i=index: self._ready(i), what, seconds)  # type: ignore[misc]

    def _ready(self, index: int) -> bool:
        child = self.children[index]
        assert child is not None
        assert child.end() is None, f"{child.node.name} ended ({child.end()}):\n{self.log(index)[-4000:]}"
        return child.readiness() is None

    def kill(self, index: int) -> None:
        """SIGKILL, and wait for the end."""
        child = self.children[index]
        if child is not None:
            child.send(signal.SIGKILL)
            child.wait()
            self.children[index] = None

    def terminate(self, index: int) -> None:
        """SIGTERM, and wait for the end."""
        child = self.children[index]
        assert child is not None
        child.send(signal.SIGTERM)
        child.wait()
        self.children[index] = None

    def freeze(self, index: int) -> None:
        child = self.children[index]
        assert child is not None
        child.send(signal.SIGSTOP)

    def thaw(self, index: int) -> None:
        child = self.children[index]
        assert child is not None
        child.send(signal.SIGCONT)

    def log(self, index: int) -> str:
        path = self.nodes[index].log_path
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def port(self, index: int) -> int:
        return self.nodes[index].amqp_port

    def url(self, index: int) -> str:
        return self.nodes[index].http_url

    def connect(self, index: int, **options: Any) -> pika.BlockingConnection:
        """A pika connection to one node."""
        options.setdefault("credentials", pika.PlainCredentials(self.user, self.password))
        parameters = pika.ConnectionParameters(self.nodes[index].host, self.port(index), heartbeat=30, **options)
        return pika.BlockingConnection(parameters)
