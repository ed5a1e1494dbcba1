"""Who leads a queue, by the words of the management API."""

from __future__ import annotations

import json
import urllib.request

from tests.cluster.harness import LocalCluster, wait_until


def leader_of(cluster: LocalCluster, queue: str, asked: int = 0) -> int:
    """The index of the node that leads the queue in the default vhost, once there is one."""
    found: list[int] = []

    def ask() -> bool:
        request = urllib.request.Request(
            cluster.url(asked) + f"/api/queues/%2F/{queue}", headers={"Authorization": "Basic Z3Vlc3Q6Z3Vlc3Q="}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            name = json.load(answer)["node"]
        found[:] = [n for n, node in enumerate(cluster.nodes) if node.name == name]
        return bool(found)

    wait_until(ask, f"a leader of {queue}")
    return found[0]
