"""A pika consumer of one queue on a channel of its own.

Law: it answers for everything it gets, `held_seconds` later, and asks now and then whether its answers have arrived: a
basic.qos is answered after all that its channel acknowledged before is committed. When nothing is published any more it
only acknowledges, but from a deep queue, of which it gets nothing before.
"""

from __future__ import annotations

import random
import time
from collections import deque
from typing import Any

from chaos.clients.workload import Chronicle, QueuePlan
from chaos.history import ConsumerEnded, Consuming, How, MessageId, Settled, Synced

SYNC_SECONDS = 0.7


class SteadyConsumer:
    """From basic.consume to the end of its channel; goes and comes again there if the plan says so."""

    def __init__(self, chronicle: Chronicle, rng: random.Random, plan: QueuePlan, node: int, channel: Any) -> None:
        self._chronicle = chronicle
        self._random = rng
        self._plan = plan
        self._node = node
        self._channel = channel
        self._held: deque[tuple[float, int, MessageId | None, bool]] = deque()
        """(received at, delivery tag, message, whether it was redelivered)."""
        self._name = ""
        self._asked = 0.0
        """When the synchronous method was sent that is not answered yet; 0: none is under way."""
        self._synced_at = time.monotonic()
        self._settled_at = 0.0
        self._leaves_at = 0.0
        channel.basic_qos(prefetch_count=plan.prefetch_count, callback=lambda _: self._consume())

    @property
    def held(self) -> int:
        return len(self._held)

    @property
    def is_synced(self) -> bool:
        """Is everything that it got answered, and known to be?"""
        return not self._held and self._synced_at >= self._settled_at

    def _consume(self) -> None:
        if self._channel is None:
            return
        self._name = self._chronicle.fresh("c")
        self._chronicle.write(Consuming(t=time.monotonic(), k=self._name, node=self._node, queue=self._plan.name))
        if self._plan.cancel_seconds:
            self._leaves_at = time.monotonic() + self._random.uniform(0.5, 1.5) * self._plan.cancel_seconds
        name = self._name
        self._channel.basic_consume(
            self._plan.name,
            lambda _, method, properties, body: self._received(name, method, properties, body),
            consumer_tag=name,
        )

    def _received(self, name: str, method: Any, properties: Any, body: bytes) -> None:
        record = self._chronicle.delivered(name, body, properties.headers or {}, redelivered=method.redelivered)
        message = (record.s, record.n) if record.intact else None
        if name != self._name:
            # It came after this consumer had asked to go.
            if message is not None:
                self._chronicle.write(Settled(t=record.t, k=name, how="requeue", m=(message,)))
            self._channel.basic_nack(method.delivery_tag, requeue=True)
            return
        self._held.append((record.t, method.delivery_tag, message, method.redelivered))

    def turn(self, now: float, *, is_calm: bool) -> None:
        """Answer for what was held long enough; ask whether the answers arrived; leave when it is time."""
        if self._channel is None or not self._name:
            return
        due: list[tuple[int, MessageId | None, How]] = []
        while self._held and self._held[0][0] <= now - self._plan.held_seconds:
            _, tag, message, redelivered = self._held.popleft()
            is_answer_free = not is_calm or self._plan.is_deep
            due.append((tag, message, self._answer(redelivered) if is_answer_free else "ack"))
        self._settle(due)
        if not self._asked and self._synced_at < self._settled_at and now - self._synced_at > SYNC_SECONDS:
            self._sync()
        if self._leaves_at and now > self._leaves_at and not is_calm and not self._asked:
            self._leave()

    def _answer(self, redelivered: bool) -> How:
        draw = self._random.random()
        if draw < self._plan.requeue * (0.5 if redelivered else 1.0):
            return "requeue"
        if draw > 1.0 - self._plan.reject:
            return "reject"
        return "ack"

    def _settle(self, due: list[tuple[int, MessageId | None, How]]) -> None:
        if not due:
            return
        self._settled_at = time.monotonic()
        for how in ("ack", "requeue", "reject"):
            named = tuple([message for _, message, answer in due if answer == how and message is not None])
            if named:
                self._chronicle.write(Settled(t=self._settled_at, k=self._name, how=how, m=named))
        if all(how == "ack" for _, _, how in due):
            self._channel.basic_ack(due[-1][0], multiple=True)
            return
        for tag, _, how in due:
            if how == "ack":
                self._channel.basic_ack(tag)
            else:
                self._channel.basic_nack(tag, requeue=how == "requeue")

    def _sync(self) -> None:
        self._asked = time.monotonic()
        name, asked = self._name, self._asked
        prefetch_count = self._plan.prefetch_count
        self._channel.basic_qos(prefetch_count=prefetch_count, callback=lambda _: self._synced(name, asked))

    def _synced(self, name: str, asked: float) -> None:
        self._chronicle.write(Synced(t=time.monotonic(), k=name, asked=asked))
        self._asked = 0.0
        self._synced_at = asked

    def _leave(self) -> None:
        """Give back what it holds, say goodbye, and come again as somebody else."""
        gone, held = self._name, tuple(self._held)
        self._held.clear()
        self._settle([(tag, message, "requeue") for _, tag, message, _ in held])
        self._chronicle.write(ConsumerEnded(t=time.monotonic(), k=gone, orderly=True))
        self._name, self._leaves_at = "", 0.0
        self._channel.basic_cancel(gone, callback=lambda _: self._consume())

    def lost(self) -> None:
        """The connection broke."""
        if self._name:
            self._chronicle.write(ConsumerEnded(t=time.monotonic(), k=self._name, orderly=False))
        self._channel = None
        self._held.clear()
