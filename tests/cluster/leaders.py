"""Who leads a queue, by the words of the management API."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.cluster.harness import LocalCluster, wait_until


def _ask(cluster: LocalCluster, asked: int, path: str) -> Any:
    request = urllib.request.Request(cluster.url(asked) + path, headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def _index_of(cluster: LocalCluster, name: Callable[[], str | None], what: str) -> int:
    found: list[int] = []

    def ask() -> bool:
        told = name()
        found[:] = [n for n, node in enumerate(cluster.nodes) if node.name == told]
        return bool(found)

    wait_until(ask, what)
    return found[0]


def leader_of(cluster: LocalCluster, queue: str, asked: int = 0) -> int:
    """The index of the node that leads the queue in the default vhost, once there is one."""
    path = f"/api/queues/%2F/{queue}"
    return _index_of(cluster, lambda: _ask(cluster, asked, path)["node"], f"a leader of {queue}")


def catalog_leader(cluster: LocalCluster, asked: int = 0) -> int:
    """The index of the node that leads the catalog, once there is one."""

    def name() -> str | None:
        groups = _ask(cluster, asked, "/api/cluster/status")["groups"]
        return next((group["leader"] for group in groups if group["id"] == 0), None)

    return _index_of(cluster, name, "a leader of the catalog")
