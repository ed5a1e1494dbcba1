"""What a cluster says of itself, through the admin interface of whichever node answers."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

from chaos.local_cluster import LocalCluster

ANSWER_SECONDS = 3.0
VERIFY_SECONDS = 60.0
"""What the comparison of all groups may take; a replica that is away costs each of its groups some seconds."""


def _request(cluster: LocalCluster, node: int, path: str, body: bytes | None = None) -> urllib.request.Request:
    """A GET, or a POST of `body`."""
    authorization = "Basic " + base64.b64encode(f"{cluster.user}:{cluster.password}".encode()).decode()
    return urllib.request.Request(cluster.url(node) + path, data=body, headers={"Authorization": authorization})


def ask_node(cluster: LocalCluster, node: int, path: str) -> Any:
    """A document of one node. None when it does not answer."""
    try:
        with urllib.request.urlopen(_request(cluster, node, path), timeout=ANSWER_SECONDS) as response:
            return json.load(response)
    except (OSError, ValueError):
        return None


def ask(cluster: LocalCluster, path: str) -> Any:
    """A document of the first node that answers. None when none does."""
    for index, child in enumerate(cluster.children):
        if child is not None and (document := ask_node(cluster, index, path)) is not None:
            return document
    return None


def hand_over(cluster: LocalCluster, group: int, node: str) -> bool:
    """Ask a group's leader to let `node` lead. False when it refuses for now."""
    request = _request(cluster, 0, f"/api/groups/{group}/transfer", json.dumps({"node": node}).encode())
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
            return True
    except OSError:
        return False


def remove_member(cluster: LocalCluster, name: str) -> bool:
    """Ask the first node that answers to let a member go. False when it refuses for now."""
    for index in range(len(cluster.nodes)):
        request = _request(cluster, index, f"/api/cluster/nodes/{name}")
        request.method = "DELETE"
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS):
                return True
        except OSError:
            continue
    return False


def verify(cluster: LocalCluster) -> list[dict[str, Any]]:
    """What the first node that answers says of each group's replicas; empty when none does."""
    for index in range(len(cluster.nodes)):
        request = _request(cluster, index, "/api/cluster/verify", b"")
        try:
            with urllib.request.urlopen(request, timeout=VERIFY_SECONDS) as response:
                groups: list[dict[str, Any]] = json.load(response)["groups"]
                return groups
        except (OSError, ValueError):
            continue
    return []


def leaders(cluster: LocalCluster) -> dict[str, str]:
    """Queue -> the node that leads its group, "" if none does. A node may not hear a leader that others follow."""
    queues = ask(cluster, "/api/queues") or []
    by_group: dict[int, str] = {}
    for index, child in enumerate(cluster.children):
        if child is None or (queues and all(by_group.get(queue["group"]) for queue in queues)):
            continue
        status = ask_node(cluster, index, "/api/cluster/status") or {"groups": []}
        by_group |= {group["id"]: group["leader"] for group in status["groups"] if group["leader"]}
    return {queue["name"]: by_group.get(queue["group"], "") for queue in queues}


def messages(cluster: LocalCluster, queues: list[str]) -> int:
    """In these queues, ready or held by a consumer."""
    rows = ask(cluster, "/api/queues") or []
    return sum(int(row["messages_ready"]) + int(row["messages_unacked"]) for row in rows if row["name"] in queues)


def is_healthy(cluster: LocalCluster) -> bool:
    """Do all nodes answer, and does the cluster say so?"""
    status = ask(cluster, "/api/cluster/status")
    return status is not None and status["verdict"]["health"] == "healthy"


def is_whole(cluster: LocalCluster) -> bool:
    """Is it healthy, and does every group have all its replicas, each of them up and with a vote?"""
    status = ask(cluster, "/api/cluster/status")
    replicas = min(3, len(cluster.nodes))
    return (
        status is not None
        and status["verdict"]["health"] == "healthy"
        and all(
            len(group["members"]) >= replicas and all(member["voter"] and member["up"] for member in group["members"])
            for group in status["groups"]
        )
    )
