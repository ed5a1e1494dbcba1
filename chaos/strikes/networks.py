"""Faults of the network between nodes. Clients reach every node all the time."""

from __future__ import annotations

import time
from collections.abc import Collection

from chaos.machine.network import Weather
from chaos.strikes.processes import KillOne
from chaos.strikes.strike import Strike, Struck


class _Weathered(Strike):
    """Bad weather from `begin` to `end`."""

    needs: Collection[str] = ("network",)
    nodes_needed = 0
    weather = Weather()

    def begin(self) -> None:
        self.field.make_weather(id(self), self.weather)

    def end(self) -> None:
        self.field.make_weather(id(self), None)

    def between(self, node: int) -> frozenset[tuple[int, int]]:
        """Everything to and from a node."""
        others = [other for other in self.field.nodes if other != node]
        return frozenset([(node, other) for other in others] + [(other, node) for other in others])


class Partition(_Weathered):
    """One node, often a leader, is cut off from the others in both directions, long enough for it to refuse."""

    hold_seconds = (12.5, 17.0)
    nodes_needed = 1
    claims = ("minority",)

    def choose(self) -> None:
        node = self.field.leader() if self.field.random.random() < 0.7 else self.field.one()
        self.struck = Struck((node,), (node,), (node,))
        self.weather = Weather(cut=self.between(node))


class NewAddress(KillOne):
    """A node is killed and comes back under the same name at another address."""

    needs = ("network",)

    def begin(self) -> None:
        super().begin()
        assert self.field.grounds.network is not None
        self.field.grounds.network.move(self.struck.down[0])


class Split(_Weathered):
    """No node hears another."""

    hold_seconds = (1.0, 12.0)
    nodes_needed = 3

    def choose(self) -> None:
        nodes = self.field.nodes
        self.struck = Struck(nodes, nodes, nodes)
        self.weather = Weather(cut=frozenset([(a, b) for a in nodes for b in nodes if a != b]))


class OneWay(_Weathered):
    """A node hears the others and is not heard, or is heard and does not hear."""

    hold_seconds = (1.0, 12.0)
    nodes_needed = 1

    def choose(self) -> None:
        node = self.field.leader()
        is_mute = self.field.random.random() < 0.5
        self.struck = Struck((node,), (node,))
        self.weather = Weather(cut=frozenset([pair for pair in self.between(node) if (pair[0] == node) == is_mute]))


class Ring(_Weathered):
    """Two nodes do not hear each other; the third hears both, and both hear it."""

    hold_seconds = (1.0, 12.0)
    nodes_needed = 2

    def choose(self) -> None:
        a, b = self.field.some(2)
        self.struck = Struck((a, b), cut=((a, b),))
        self.weather = Weather(cut=frozenset([(a, b), (b, a)]))


class Flapping(_Weathered):
    """One node is cut off and joined again, several times a second to once in a few."""

    hold_seconds = (4.0, 12.0)
    nodes_needed = 1
    _due = 0.0
    _is_cut = False

    def choose(self) -> None:
        node = self.field.leader()
        self.struck = Struck((node,), (node,))
        self.weather = Weather(cut=self.between(node))

    def step(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self.field.random.choice((0.1, 0.3, 0.8, 2.0))
        self._is_cut = not self._is_cut
        self.field.make_weather(id(self), self.weather if self._is_cut else None)


class Loss(_Weathered):
    """Some packets between nodes are dropped."""

    hold_seconds = (3.0, 10.0)

    def choose(self) -> None:
        self.struck = Struck(self.field.nodes)
        self.weather = Weather(loss_percent=self.field.random.choice((1, 3, 8, 15)))


class Latency(_Weathered):
    """Packets between nodes take their time, each another one: they overtake each other."""

    needs = ("network", "delays")
    hold_seconds = (3.0, 10.0)

    def choose(self) -> None:
        delay = self.field.random.choice((2, 10, 40))
        self.struck = Struck(self.field.nodes)
        self.weather = Weather(delay_ms=delay, jitter_ms=self.field.random.choice((0, delay, 2 * delay)))
