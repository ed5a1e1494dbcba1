"""What the admin listener answers for while its node has no cluster yet.

Law: the node is alive and not ready, and says why, also to whoever would log in: it knows no users yet. Once the node
belongs to a cluster, everything is its source's.
"""

from __future__ import annotations

import os
from typing import Any, cast

import trio

from cluster.broker.catalog.catalog import Catalog
from cluster.node.admin.report import NodeReport
from cluster.node.admin.source import NodeSource
from cluster.node.config import NodeConfig

WAITING = "waiting for a member of the cluster"


class _Waiting:
    """The part of a `NodeSource` that somebody without a password can ask for."""

    def __init__(self, config: NodeConfig, version: str) -> None:
        self.catalog = Catalog()
        self._config = config
        self._version = version
        self._began = trio.current_time()

    def local_report(self) -> NodeReport:
        return NodeReport(
            name=self._config.node.name,
            pid=os.getpid(),
            version=self._version,
            phase="starting",
            uptime_seconds=trio.current_time() - self._began,
            amqp_port=self._config.amqp.port,
            http_port=self._config.http.port,
            groups=(),
            waiting_for=WAITING,
        )

    async def authenticate(self, user: str, password: str, *, peer_host: str) -> frozenset[str] | None:
        return None


class Foyer:
    """Becomes a `NodeSource` whole by `enter`."""

    def __init__(self, config: NodeConfig, version: str) -> None:
        self._source: object = _Waiting(config, version)
        self.entered = trio.Event()

    def enter(self, source: NodeSource) -> None:
        self._source = source
        self.entered.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def source(self) -> NodeSource:
        """Itself, for the admin listener."""
        return cast("NodeSource", self)
