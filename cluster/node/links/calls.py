"""Calls: requests to peers and responses from them, over the messages of their links.

Law: a call ends in exactly one of answer, refusal, timeout, link down. A response leaves only over the link on
which its request came, because call ids mean nothing to another incarnation. Serving is bounded per peer.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from dataclasses import dataclass
from itertools import count

import trio

from cluster.node.links.carrier import Carrier
from cluster.node.links.frames import REQUEST, REQUEST_FAILED, RESPONSE
from cluster.node.links.interface import (
    KIND_MAX,
    Body,
    LinkDown,
    LinkError,
    LinkHandler,
    LinkLimits,
    LinkTimeout,
    ProtocolViolation,
    RemoteError,
    RequestError,
)
from cluster.node.links.peer import Answer, Call, Incoming, Peer, PeerState


@dataclass(frozen=True, slots=True)
class _Question:
    """Where a response belongs."""

    peer: Peer
    incoming: Incoming
    call_id: int
    control: bool


class Calls:
    """The calls of a node, both ways."""

    def __init__(self, handler: LinkHandler, limits: LinkLimits, carrier: Carrier) -> None:
        self._handler = handler
        self._limits = limits
        self._carrier = carrier
        self._ids = count(1)

    async def call(self, peer: Peer, kind: int, body: Body, timeout_seconds: float, *, control: bool) -> Body:
        """Contract of `Links.call`, for a peer that is up."""
        call_id = next(self._ids)
        request = [call_id, kind, control, body]
        if not self._carrier.queue(peer, REQUEST, request, control=control, droppable=False):
            raise LinkDown(f"outbox to {peer.address.name} is full")
        call = peer.calls[call_id] = Call()
        try:
            with trio.move_on_after(timeout_seconds):
                await call.done.wait()
        finally:
            peer.calls.pop(call_id, None)
        match call.outcome:
            case Answer(body=answer):
                return answer
            case LinkError() as error:
                raise error
            case None:
                raise LinkTimeout(f"{peer.address.name} did not answer within {timeout_seconds} s")

    def receive(self, peer: Peer, incoming: Incoming, kind: int, body: Body, nursery: trio.Nursery) -> None:
        """A frame of the link's own kinds. Raises ProtocolViolation for one that is no call."""
        match body:
            case [int(call_id), int(asked), bool(control), argument] if kind == REQUEST and asked <= KIND_MAX:
                self._serve(_Question(peer, incoming, call_id, control), asked, argument, nursery)
            case [int(call_id), answer] if kind == RESPONSE:
                if call := peer.calls.get(call_id):
                    call.finish(Answer(answer))
            case [int(call_id), str(text)] if kind == REQUEST_FAILED:
                if call := peer.calls.get(call_id):
                    call.finish(RemoteError(text))
            case _:
                raise ProtocolViolation(f"malformed frame of kind {kind}")

    def _serve(self, question: _Question, kind: int, body: Body, nursery: trio.Nursery) -> None:
        peer = question.peer
        if peer.requests_pending >= self._limits.requests_pending_max:
            self._refuse(question, "too many requests")
            return
        try:
            answer = self._handler.request(peer.address.node, kind, body)
        except RequestError as error:
            self._refuse(question, str(error))
            return
        if inspect.isawaitable(answer):
            peer.requests_pending += 1
            nursery.start_soon(self._serve_later, question, answer)
        else:
            self._answer(question, answer)

    async def _serve_later(self, question: _Question, awaitable: Awaitable[Body]) -> None:
        try:
            answer = await awaitable
        except RequestError as error:
            self._refuse(question, str(error))
        else:
            self._answer(question, answer)
        finally:
            question.peer.requests_pending -= 1

    def _answer(self, question: _Question, answer: Body) -> None:
        try:
            self._respond(question, RESPONSE, answer)
        except ValueError as error:
            self._refuse(question, f"response cannot be sent: {error}")

    def _refuse(self, question: _Question, text: str) -> None:
        self._respond(question, REQUEST_FAILED, text)

    def _respond(self, question: _Question, kind: int, body: Body) -> None:
        peer = question.peer
        if peer.incoming is question.incoming and peer.state is PeerState.UP:
            response = [question.call_id, body]
            self._carrier.queue(peer, kind, response, control=question.control, droppable=False)
