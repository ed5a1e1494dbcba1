"""What a shard's leader has to know of the rest of the broker.

Law: answers are this node's copy of the catalog at that moment. The leader asks when it decides, and what it decided
goes through the log as it is: replicas never ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from cluster.amqp.properties import BasicProperties
from cluster.broker.shard.entry import QueueId
from cluster.broker.shard.settings import PLAIN, QueueSettings


class Target(NamedTuple):
    """A queue that a dead letter goes to. `has_priorities`: its message's priority means something there."""

    shard: int
    queue: QueueId
    name: str
    has_priorities: bool


class Surroundings(Protocol):
    """The catalog, as a leader sees it."""

    @property
    def is_current(self) -> bool:
        """False while the copy of a node that has just started may lack what was confirmed long ago.

        A dead letter that goes nowhere by such a copy may have somewhere to go: it waits.
        """

    @property
    def answered(self) -> int:
        """The last of the questions that has been answered, see `ask`."""

    @property
    def knows_dooms(self) -> bool:
        """False while a node is up whose version cannot read `LeaderOps.dooms`."""

    @property
    def has_room(self) -> bool:
        """False while the disk has so little room that dead letters wait: it is for what consumers settle."""

    def ask(self) -> int:
        """Ask whether this copy has everything that was confirmed by now. The question's number, ascending from 1."""

    def settings(self, queue: QueueId) -> QueueSettings:
        """UNKNOWN for a queue that is not in this copy: it is not yet, or it is deleted."""

    def dead_letter_targets(
        self, queue: QueueId, exchange: str, routing_keys: Sequence[str], properties: BasicProperties
    ) -> Sequence[Target]:
        """Where a dead letter of `queue` goes; nowhere if there is no such exchange."""


class Nothing:
    """A leader alone in the world: plain queues, and no exchanges."""

    is_current = True
    answered = 0
    knows_dooms = True
    has_room = True

    def ask(self) -> int:
        return 0

    def settings(self, queue: QueueId) -> QueueSettings:
        return PLAIN

    def dead_letter_targets(
        self, queue: QueueId, exchange: str, routing_keys: Sequence[str], properties: BasicProperties
    ) -> Sequence[Target]:
        return ()


NOTHING: Final = Nothing()
