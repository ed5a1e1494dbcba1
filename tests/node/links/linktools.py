"""What the link tests share: a handler that remembers, and members on loopback ports."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from cluster.node.links import (
    Body,
    LinkLimits,
    Links,
    PeerAddress,
    RequestError,
    open_listener,
)
from cluster.node.tls import Certificates
from cluster.raft.types import NodeId

SECRET = b"correct horse battery staple"
DEADLINE_SECONDS = 10.0

A, B = NodeId(1), NodeId(2)


class Memory:
    """A `LinkHandler` that remembers what it was told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[NodeId, int, Body]] = []
        self.ups: list[tuple[NodeId, int]] = []
        self.downs: list[tuple[NodeId, str]] = []
        self.told: list[str] = []
        self.refusals: list[tuple[NodeId, str]] = []
        self.answer: Callable[[NodeId, int, Body], Body | Awaitable[Body]] = refuse
        self._changed = trio.Event()

    def message(self, peer: NodeId, kind: int, body: Body) -> None:
        self.messages.append((peer, kind, body))
        self._change("message")

    def request(self, peer: NodeId, kind: int, body: Body) -> Body | Awaitable[Body]:
        return self.answer(peer, kind, body)

    def link_up(self, peer: NodeId, incarnation: int) -> None:
        self.ups.append((peer, incarnation))
        self._change("up")

    def link_down(self, peer: NodeId, reason: str) -> None:
        self.downs.append((peer, reason))
        self._change("down")

    def describe(self) -> dict[str, Body]:
        return {"cluster_id": "", "state": "waiting", "members": ["mq-1", "mq-2"]}

    async def petition(self, body: dict[str, Body]) -> dict[str, Body]:
        return {"asked": body}

    def refused(self, peer: NodeId, text: str) -> None:
        self.refusals.append((peer, text))
        self._change("refused")

    def _change(self, what: str) -> None:
        self.told.append(what)
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(DEADLINE_SECONDS):
            while not condition():
                await self._changed.wait()


def refuse(peer: NodeId, kind: int, body: Body) -> Body:
    raise RequestError(f"kind {kind} is not served")


class Member:
    """One node's links, running until `stop`."""

    def __init__(
        self,
        address: PeerAddress,
        others: Sequence[PeerAddress],
        *,
        incarnation: int = 1,
        secret: bytes = SECRET,
        cluster_id: str = "c1",
        limits: LinkLimits | None = None,
        certificates: Certificates | None = None,
        both_ways: Certificates | None = None,
    ) -> None:
        self.address = address
        self.memory = Memory()
        self.links = Links(
            cluster_id=cluster_id,
            node=address.node if cluster_id else NodeId(0),
            name=address.name,
            incarnation=incarnation,
            secret=secret,
            peers=others,
            handler=self.memory,
            limits=limits or LinkLimits(),
            certificates=certificates,
            both_ways=both_ways,
        )
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listener = open_listener(self.address.host, self.address.port)
        with self._scope:
            await self.links.run([listener], task_status=task_status)
        self._stopped.set()

    async def stop(self) -> None:
        self._scope.cancel()
        await self._stopped.wait()


def addresses(count: int) -> list[PeerAddress]:
    """Loopback addresses whose ports were free a moment ago."""
    listeners = [open_listener("127.0.0.1", 0) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return [
        PeerAddress(name=f"mq-{node}", node=NodeId(node), host="127.0.0.1", port=port)
        for node, port in enumerate(ports, start=1)
    ]


@asynccontextmanager
async def linked_pair(limits: LinkLimits | None = None) -> AsyncIterator[tuple[Member, Member]]:
    """Two members whose link is up on both sides."""
    one, two = addresses(2)
    first = Member(one, [two], limits=limits)
    second = Member(two, [one], limits=limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(first.run)
        await nursery.start(second.run)
        await first.memory.until(lambda: first.links.is_up(B))
        await second.memory.until(lambda: second.links.is_up(A))
        yield first, second
        nursery.cancel_scope.cancel()
