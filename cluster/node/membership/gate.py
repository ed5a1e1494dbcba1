"""Who stands at a node's links before it knows its cluster, and after.

Law: from the first moment on a node says what it is; everything else is the core's, once there is one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cluster.node import bootstrap
from cluster.node.core import Core
from cluster.node.links import RequestError
from cluster.raft.types import NodeId

Petition = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Gate:
    """The handler of links."""

    def __init__(self, token: str, configured: Sequence[str]) -> None:
        """`token` is the directory's, `configured` the names of the members that the configuration lists."""
        self.core: Core | None = None
        self.charter: bootstrap.Charter | None = None
        self.on_petition: Petition = _not_yet
        self.on_refused: Callable[[str], None] = _nobody_hears
        self._token = token
        self._configured = configured

    def message(self, peer: NodeId, kind: int, body: Any) -> None:
        if self.core is not None:
            self.core.message(peer, kind, body)

    def request(self, peer: NodeId, kind: int, body: Any) -> Any:
        if self.core is None:
            raise RequestError("starting")
        return self.core.request(peer, kind, body)

    def link_up(self, peer: NodeId, incarnation: int) -> None:
        if self.core is not None:
            self.core.link_up(peer, incarnation)

    def link_down(self, peer: NodeId, reason: str) -> None:
        if self.core is not None:
            self.core.link_down(peer, reason)

    def describe(self) -> dict[str, Any]:
        return bootstrap.describe(self.charter, self._token, self._configured)

    async def petition(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self.on_petition(body)

    def refused(self, peer: NodeId, text: str) -> None:
        self.on_refused(text)


async def _not_yet(body: dict[str, Any]) -> dict[str, Any]:
    return {"refused": "starting"}


def _nobody_hears(text: str) -> None:
    """Before there is anything to leave."""
