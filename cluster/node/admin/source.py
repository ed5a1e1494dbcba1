"""What the admin interface asks of the node it belongs to.

Law: the admin interface holds no state of the broker; it asks, each time. Every answer is bounded in time by the
source: a peer that does not answer becomes a member without a report, never a wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from cluster.node.admin.report import ClusterReport, ConnectionReport, NodeReport, QueueReport


class Refusal(Enum):
    """Why a request was not carried out, as an HTTP status."""

    NOT_FOUND = 404
    CONFLICT = 409
    UNAVAILABLE = 503


class Refused(Exception):
    """The node will not do it; `text` is one line for the operator."""

    def __init__(self, refusal: Refusal, text: str) -> None:
        super().__init__(text)
        self.refusal = refusal
        self.text = text


class NodeSource(Protocol):
    """Implemented by the assembly."""

    def local_report(self) -> NodeReport:
        """This node, now. Called for every probe and scrape: cheap, no await."""

    async def cluster_report(self, timeout_seconds: float) -> ClusterReport:
        """All members, each asked for its report at the same time; answers without quorum too."""

    async def queues(self, timeout_seconds: float) -> Sequence[QueueReport]:
        """Every queue of the cluster, ordered by vhost and name."""

    async def connections(self, timeout_seconds: float) -> Sequence[ConnectionReport]:
        """Every client connection of the nodes that answer, ordered by node and name."""

    async def transfer(self, group: int, node: str) -> None:
        """Ask the group's leader to hand over to `node`; returns once it is asked. Raises Refused."""

    async def authenticate(self, user: str, password: str, *, peer_host: str) -> frozenset[str] | None:
        """The user's tags, or None: no such user, wrong password, or a user that may not come from `peer_host`."""
