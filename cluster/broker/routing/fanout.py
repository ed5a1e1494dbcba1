"""Fanout exchanges: every binding matches; key and arguments are ignored.

Law: one hold for each binding, so that a destination stays until its last binding is gone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from cluster.broker.routing.bucket import added, members, removed
from cluster.broker.routing.headers import Arguments, HeadersLoader

D = TypeVar("D", bound=Hashable)


class FanoutMatcher(Generic[D]):
    """The bag of everything bound (AMQP 0-9-1 §3.1.3.2)."""

    __slots__ = ("_bound",)

    reads_headers = False

    def __init__(self) -> None:
        self._bound: D | dict[D, int] | None = None

    def add(self, destination: D, _routing_key: str, _arguments: Arguments) -> None:
        self._bound = added(self._bound, destination)

    def remove(self, destination: D, _routing_key: str, _arguments: Arguments) -> None:
        assert self._bound is not None, "a binding that was never made cannot be removed"
        self._bound = removed(self._bound, destination)

    def match(self, _routing_key: str, _headers: HeadersLoader) -> Iterable[D]:
        """Destinations in no promised order, each once."""
        return members(self._bound)
