"""A fault: what is done, to whom, for how long, and how it is undone.

Law: `choose` decides whom it strikes, `begin` does it, `step` goes on with it, `end` undoes it, so that the cluster can
become healthy without anybody's help. `end` may follow a `begin` that failed half way. Whom it strikes is told to the
history before it is done.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from chaos.local_cluster import wait_until
from chaos.look import ask, leaders
from chaos.machine.grounds import Grounds
from chaos.machine.network import Weather


@dataclass(frozen=True, slots=True)
class Struck:
    """Nodes: `nodes` are disturbed, `down` cannot be part of a majority, `minority` serve clients without one.

    `cut`: pairs of nodes that do not hear each other, although both may be part of a majority. `clocks`: nodes whose
    wall clock is wrong.
    """

    nodes: tuple[int, ...] = ()
    down: tuple[int, ...] = ()
    minority: tuple[int, ...] = ()
    cut: tuple[tuple[int, int], ...] = ()
    clocks: tuple[int, ...] = ()


@dataclass(slots=True)
class Field:
    """Where faults happen. `free` are the nodes that no other fault of this moment has struck."""

    grounds: Grounds
    random: random.Random
    queues: tuple[str, ...]
    """Of these, faults that look for a leader strike one's."""
    note: Callable[[str], None]
    """Takes down what a human may want to know of a fault."""
    free: set[int] = field(default_factory=set)
    weather: dict[int, Weather] = field(default_factory=dict)
    """What each fault of this moment does to the network, by `id`."""

    @property
    def nodes(self) -> tuple[int, ...]:
        return tuple(range(len(self.grounds.nodes)))

    def one(self) -> int:
        """A free node."""
        return self.random.choice(sorted(self.free))

    def some(self, count: int) -> tuple[int, ...]:
        return tuple(self.random.sample(sorted(self.free), count))

    def leader(self) -> int:
        """The node that leads one of the queues, if it is free; else another one."""
        queue, names = self.random.choice(self.queues), self.grounds.names
        wait_until(lambda: leaders(self.grounds).get(queue, "") in names, f"{queue} has a leader")
        leader = names.index(leaders(self.grounds)[queue])
        return leader if leader in self.free else self.one()

    def groups(self) -> list[int]:
        rows = ask(self.grounds, "/api/queues") or []
        return sorted({row["group"] for row in rows if row["name"] in self.queues and row["group"] is not None})

    def make_weather(self, key: int, weather: Weather | None) -> None:
        """Let it be so for one fault (None: no more), beside what others have made."""
        if weather is None:
            self.weather.pop(key, None)
        else:
            self.weather[key] = weather
        total = Weather()
        for one in self.weather.values():
            total |= one
        assert self.grounds.network is not None
        self.grounds.network.set(total)


class Strike:
    """One fault that happens once. Subclasses say what it is in their docstring."""

    needs: Collection[str] = ()
    """What of the machine it needs, see `grounds.missing`."""
    hold_seconds: tuple[float, float] = (0.0, 0.0)
    """From the end of `begin` to `end`, from..to."""
    nodes_needed = 1
    """Nodes that no other fault may have struck; 0 for what strikes none."""
    claims: tuple[str, ...] = ()
    """Invariants that only a run with this fault checks."""
    restarts_all = False
    starts_nodes = False
    """Whether nodes that it strikes may end, and `end` starts them."""

    def __init__(self, ground: Field) -> None:
        self.field = ground
        self.struck = Struck()

    def choose(self) -> None:
        """Sets `struck`."""
        raise NotImplementedError

    def begin(self) -> None:
        raise NotImplementedError

    def step(self) -> None:
        """Called often while it holds."""

    def end(self) -> None:
        raise NotImplementedError
