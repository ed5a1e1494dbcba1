"""The links between the nodes, and all that can happen to them.

Law: what one end of a link sends in one lane arrives in order, or the link goes down at both ends; only what may be
dropped is lost alone. An end that is cut off notices after `SILENCE_SECONDS`, one whose peer is gone at once. A link
comes up again only after both ends know that it was down. Handlers run in their own node, never while it is paused,
never from inside a call to the links.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import combinations, count
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import msgpack
import trio

from cluster.node.links import LinkDown, LinkTimeout, ProtocolViolation, RemoteError, RequestError
from cluster.node.links.handshake import VERSION_MAX
from cluster.raft.runtime.wakeup import Wakeup
from cluster.raft.types import NodeId
from tests.simulation.agenda import Agenda

if TYPE_CHECKING:
    from tests.simulation.process import Process

SILENCE_SECONDS = 5.0
_LOOK_SECONDS = 0.25
_MESSAGE, _REQUEST, _RESPONSE = 0, 1, 2

Look = Callable[[int, int, list[Any], bytes], None]
"""Told of every message that arrives: source, target, what it says, and its octets."""


class Handler(Protocol):
    def message(self, peer: NodeId, kind: int, body: Any) -> None: ...

    def request(self, peer: NodeId, kind: int, body: Any) -> Any: ...

    def link_up(self, peer: NodeId, incarnation: int) -> None: ...

    def link_down(self, peer: NodeId, reason: str) -> None: ...


class Way:
    """One direction between two nodes. `stalled`: nothing gets through, and what waits arrives when it is over."""

    def __init__(self) -> None:
        self.stalled = False
        self.silent_since: float | None = None
        self.delay_seconds = 0.001
        self.waiting: list[Callable[[], None]] = []


class Session:
    """One life of a link, as its two ends see it."""

    def __init__(self, pair: tuple[int, int]) -> None:
        self.pair = pair
        self.up = dict.fromkeys(pair, False)
        self.was_up = dict.fromkeys(pair, False)
        self.whole = True
        """False: nothing sent from now on arrives."""
        self.last_at: dict[tuple[int, bool], float] = {}
        """(source, lane) -> when the latest message in it arrives."""
        self.early: dict[int, list[Callable[[], None]]] = {node: [] for node in pair}
        """What has come to an end that is not up yet."""
        self.calls: dict[int, tuple[int, trio.Event, list[Any]]] = {}
        """Number -> who waits, and for what."""

    def other(self, node: int) -> int:
        return self.pair[0] if node == self.pair[1] else self.pair[1]


class Network:
    def __init__(self, agenda: Agenda, random: Random, look: Look) -> None:
        self.processes: dict[int, Process] = {}
        self.ways: dict[tuple[int, int], Way] = {}
        self.drops = 0.0
        """Chance that a message that may be dropped is."""
        self._agenda = agenda
        self._random = random
        self._look = look
        self._sessions: dict[tuple[int, int], Session | None] = {}
        self._left: dict[int, None] = {}
        self._numbers = count(1)

    def connect(self, nodes: tuple[int, ...]) -> None:
        """Begin to hold links between these nodes."""
        for a, b in combinations(nodes, 2):
            self.ways[(a, b)], self.ways[(b, a)] = Way(), Way()
            self._sessions[(a, b)] = None
            self._agenda.after(self._random.uniform(0, 0.1), partial(self._tend, (a, b)))

    def join(self, node: int, others: tuple[int, ...]) -> None:
        """Begin to hold links between a new node and these."""
        for other in others:
            self.ways.setdefault((node, other), Way())
            self.ways.setdefault((other, node), Way())
            pair = (min(node, other), max(node, other))
            self._sessions[pair] = None
            self._tend(pair)

    def leave(self, node: int) -> None:
        """It is gone for good; who was linked to it notices."""
        self._left[node] = None

    # ---- what goes wrong

    def stall(self, source: int, target: int) -> None:
        self.ways[(source, target)].stalled = True

    def unstall(self, source: int, target: int) -> None:
        way = self.ways[(source, target)]
        way.stalled = False
        self._flow(way, target)

    def reset(self, a: int, b: int) -> None:
        """The connection breaks; both ends notice in a moment, each by itself."""
        session = self._sessions.get((min(a, b), max(a, b)))
        if session is not None:
            self._break(session, "reset")

    def part(self, node: int, peer: int) -> None:
        """One end gives a link up; the other notices by itself, at the latest when it is linked anew."""
        session = self.session(node, peer)
        if session is not None:
            session.whole = False
            self._end(session, node, "given up")

    def gone(self, node: int) -> None:
        """A process is no more: nothing from it, nothing to it."""
        for session in self._sessions.values():
            if session is not None and node in session.pair:
                session.up[node] = False
                session.was_up[node] = True
                session.early[node].clear()
                self._break(session, "closed by the peer")

    def awake(self, node: int) -> None:
        """A paused process goes on: what came meanwhile is there."""
        for (_, target), way in self.ways.items():
            if target == node:
                self._flow(way, target)

    # ---- for a node's links

    def session(self, node: int, peer: int) -> Session | None:
        """The link, if this end of it is up."""
        session = self._sessions.get((min(node, peer), max(node, peer)))
        return session if session is not None and session.up[node] else None

    def refuses(self, node: int, peer: int) -> bool:
        """Can the machine of a process that is no more be asked for it?"""
        if (node, peer) not in self.ways:
            return True
        stalled = self.ways[(node, peer)].stalled or self.ways[(peer, node)].stalled
        return not stalled and peer not in self.processes

    def peers(self, node: int) -> list[NodeId]:
        others = sorted({b for pair in self._sessions if node in pair for b in pair if b != node})
        return [NodeId(peer) for peer in others if self.session(node, peer) is not None]

    def post(self, session: Session, source: int, what: list[Any], *, control: bool, droppable: bool) -> None:
        target = session.other(source)
        octets = msgpack.packb(what)
        random = self._random
        if not session.whole or (droppable and random.random() < self.drops):
            return
        way = self.ways[(source, target)]
        lane = (source, control)
        at = trio.current_time() + way.delay_seconds * random.uniform(0.2, 2)
        at = session.last_at[lane] = max(at, session.last_at.get(lane, 0.0))

        def arrive() -> None:
            if session.whole:
                way.waiting.append(lambda: self._deliver(session, source, target, octets))
                self._flow(way, target)

        self._agenda.at(at, arrive)

    async def call(self, session: Session, source: int, kind: int, body: Any, seconds: float, *, control: bool) -> Any:
        number = next(self._numbers)
        answered = trio.Event()
        answer: list[Any] = []
        session.calls[number] = (source, answered, answer)
        self.post(session, source, [_REQUEST, kind, number, body], control=control, droppable=False)
        try:
            with trio.move_on_after(seconds):
                await answered.wait()
                if isinstance(answer[0], Exception):
                    raise answer[0]
                return answer[0]
        finally:
            session.calls.pop(number, None)
        raise LinkTimeout(f"node {session.other(source)} did not answer in {seconds} s")

    # ---- inside

    def _flow(self, way: Way, target: int) -> None:
        process = self.processes.get(target)
        while way.waiting and not way.stalled and process is not None and not process.paused:
            way.waiting.pop(0)()

    def _deliver(self, session: Session, source: int, target: int, octets: bytes) -> None:
        if not session.whole:
            return
        if not session.up[target]:
            if not session.was_up[target]:
                session.early[target].append(lambda: self._deliver(session, source, target, octets))
            return
        process = self.processes[target]
        what = msgpack.unpackb(octets, strict_map_key=False)
        self._look(source, target, what, octets)
        process.within(lambda: self._hand_over(session, process, source, what))

    def _hand_over(self, session: Session, process: Process, source: int, what: list[Any]) -> None:
        handler = process.handler
        match what:
            case [0, kind, body]:
                try:
                    handler.message(NodeId(source), kind, body)
                except ProtocolViolation as error:
                    raise AssertionError(f"node {process.node} does not understand node {source}: {error}") from error
            case [1, kind, number, body]:
                process.start_soon(self._serve, session, process, source, kind, number, body)
            case [2, number, is_error, answer]:
                waiting = session.calls.get(number)
                if waiting is not None:
                    waiting[2].append(RemoteError(answer) if is_error else answer)
                    waiting[1].set()

    async def _serve(self, session: Session, process: Process, source: int, kind: int, number: int, body: Any) -> None:
        try:
            answer = process.handler.request(NodeId(source), kind, body)
            if isinstance(answer, Awaitable):
                answer = await answer
            words = [_RESPONSE, number, False, answer]
        except RequestError as error:
            words = [_RESPONSE, number, True, str(error)]
        if session.up[process.node]:
            self.post(session, process.node, words, control=False, droppable=False)

    def _break(self, session: Session, reason: str) -> None:
        session.whole = False
        for node in session.pair:
            peer = session.other(node)
            if session.up[node] and not self.ways[(peer, node)].stalled:
                self._agenda.after(self._random.uniform(0, 0.05), partial(self._end, session, node, reason))

    def _end(self, session: Session, node: int, reason: str) -> None:
        """One end notices."""
        process = self.processes.get(node)
        if process is None or not session.up[node]:
            return
        if process.paused:
            process.when_awake(lambda: self._end(session, node, reason))
            return
        session.up[node] = False
        for source, answered, answer in list(session.calls.values()):
            if source == node and not answered.is_set():
                answer.append(LinkDown(f"link to node {session.other(node)} closed: {reason}"))
                answered.set()
        process.within(lambda: process.handler.link_down(NodeId(session.other(node)), reason))

    def _tend(self, pair: tuple[int, int]) -> None:
        """Now and then: notice silence, and dial where there is no link."""
        now = trio.current_time()
        session = self._sessions[pair]
        for source, target in (pair, pair[::-1]):
            way = self.ways[(source, target)]
            sender = self.processes.get(source)
            if not way.stalled and sender is not None and not sender.paused:
                way.silent_since = None
            elif way.silent_since is None:
                way.silent_since = now
            elif now - way.silent_since >= SILENCE_SECONDS and session is not None and session.up[target]:
                self._end(session, target, "silent")
                self._break(session, "closed by the peer")
        if session is None or not session.whole or not any(session.up.values()):
            if pair[0] in self._left or pair[1] in self._left:
                if session is None or not any(session.up.values()):
                    del self._sessions[pair]
                    return
            else:
                self._dial(pair, session)
        self._agenda.after(_LOOK_SECONDS * self._random.uniform(0.5, 1.5), lambda: self._tend(pair))

    def _dial(self, pair: tuple[int, int], before: Session | None) -> None:
        processes = [self.processes.get(node) for node in pair]
        if any(process is None or process.paused for process in processes):
            return
        if any(self.ways[way].stalled for way in (pair, pair[::-1])):
            return
        if before is not None and before.whole and not all(before.was_up.values()):
            return
        if before is not None:
            before.whole = False
            for node in pair:
                self._end(before, node, "replaced by a new connection")
        for way in (pair, pair[::-1]):
            self.ways[way].waiting.clear()
        session = self._sessions[pair] = Session(pair)
        for node in pair:
            self._agenda.after(self._random.uniform(0, 0.02), partial(self._begin, session, node))

    def _begin(self, session: Session, node: int) -> None:
        process, peer = self.processes.get(node), self.processes.get(session.other(node))
        if process is None or peer is None or not session.whole:
            session.whole = False
            session.was_up[node] = True
            return
        if process.paused:
            process.when_awake(lambda: self._begin(session, node))
            return
        session.up[node] = session.was_up[node] = True
        process.within(lambda: process.handler.link_up(NodeId(peer.node), peer.incarnation))
        early, session.early[node] = session.early[node], []
        for act in early:
            act()


class SimulatedLinks:
    """`Links` of one process."""

    def __init__(self, network: Network, node: int) -> None:
        self._network = network
        self._node = node
        self._over = False

    def close(self) -> None:
        """The process is gone; what is left of it is not heard any more."""
        self._over = True

    wants_turn = False

    def led_by(self, leader: Wakeup | None) -> None:
        """What is sent leaves at once."""

    def turn(self) -> None:
        """Nothing waits here."""

    def write(self) -> None:
        """Nothing waits here."""

    def is_up(self, peer: NodeId) -> bool:
        return not self._over and self._network.session(self._node, peer) is not None

    def version_of(self, peer: NodeId) -> int:
        return VERSION_MAX if self.is_up(peer) else 0

    def is_absent(self, peer: NodeId) -> bool:
        return not self._over and self._network.refuses(self._node, peer)

    def up_peers(self) -> list[NodeId]:
        return [] if self._over else self._network.peers(self._node)

    def is_full(self, peer: NodeId) -> bool:
        """What is sent is on its way at once."""
        return False

    def send(self, peer: NodeId, kind: int, body: Any, *, control: bool = False, droppable: bool = False) -> bool:
        session = None if self._over else self._network.session(self._node, peer)
        if session is None:
            return False
        self._network.post(session, self._node, [_MESSAGE, kind, body], control=control, droppable=droppable)
        return True

    async def call(self, peer: NodeId, kind: int, body: Any, timeout_seconds: float, *, control: bool = False) -> Any:
        session = None if self._over else self._network.session(self._node, peer)
        if session is None:
            raise LinkDown(f"no link to node {peer}")
        return await self._network.call(session, self._node, kind, body, timeout_seconds, control=control)
