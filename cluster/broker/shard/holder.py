"""Who holds messages of a queue, as its leader sees it.

Law: a holder that is gone gets nothing more, and keeps what it holds until the log has given that back.
"""

from __future__ import annotations

from enum import Enum


class HolderState(Enum):
    PRESENT = 1
    GONE = 2
    """Its node is lost, or has come again without it."""
    RETURNING = 3
    """Gone, and what it holds is on its way back through the log."""


class Holder:
    """A consumer, or the basic.get side of a channel, on some home node."""

    __slots__ = (
        "bytes_credit",
        "consumer",
        "credit",
        "exclusive",
        "node",
        "passive",
        "priority",
        "queued",
        "served_end",
        "state",
        "waiting",
    )

    def __init__(
        self,
        node: int,
        consumer: int,
        credit: int,
        bytes_credit: int,
        *,
        exclusive: bool,
        passive: bool,
        priority: int = 0,
        served_end: int = 0,
    ) -> None:
        self.node = node
        self.consumer = consumer
        self.credit = credit
        self.bytes_credit = bytes_credit
        self.exclusive = exclusive
        self.passive = passive
        self.priority = priority
        self.served_end = served_end
        """Of what leaders before this one gave it, see `AttachedConsumer`."""
        self.waiting = False
        """Another consumer is the active one (x-single-active-consumer)."""
        self.queued = False
        self.state = HolderState.PRESENT

    @property
    def hungry(self) -> bool:
        return (
            self.credit > 0
            and self.bytes_credit > 0
            and not (self.passive or self.waiting)
            and self.state is HolderState.PRESENT
        )

    @property
    def present(self) -> bool:
        """Is it a consumer that is still there?"""
        return not self.passive and self.state is HolderState.PRESENT


def ghost_of(node: int) -> Holder:
    """Stands for somebody of a node who is not there."""
    ghost = Holder(node, 0, 0, 0, exclusive=False, passive=True)
    ghost.state = HolderState.RETURNING
    return ghost
