"""Faults of processes: killed, stopped, told to go; and leaders that move for no reason."""

from __future__ import annotations

import signal
import time

from chaos.look import hand_over
from chaos.strikes.strike import Strike, Struck

TERM_SECONDS = 30.0


class _Killed(Strike):
    """SIGKILL to all of `struck.down` at once; started again in a random order."""

    starts_nodes = True

    def begin(self) -> None:
        grounds = self.field.grounds
        for node in self.struck.down:
            child = grounds.children[node]
            assert child is not None
            child.send(signal.SIGKILL)
        for node in self.struck.down:
            grounds.kill(node)

    def end(self) -> None:
        down = [node for node in self.struck.down if not self.field.grounds.is_running(node)]
        self.field.random.shuffle(down)
        for node in down:
            self.field.grounds.start(node)


class KillLeader(_Killed):
    """SIGKILL to the leader of a queue."""

    hold_seconds = (0.3, 4.0)

    def choose(self) -> None:
        node = self.field.leader()
        self.struck = Struck((node,), (node,))


class KillOne(_Killed):
    """SIGKILL to any node."""

    hold_seconds = (0.0, 4.0)

    def choose(self) -> None:
        node = self.field.one()
        self.struck = Struck((node,), (node,))


class KillMajority(_Killed):
    """SIGKILL to two of three; the third goes on alone."""

    hold_seconds = (1.0, 14.0)
    nodes_needed = 3

    def choose(self) -> None:
        down = self.field.some(2)
        alone = tuple([node for node in self.field.nodes if node not in down])
        # What the third node confirmed last may have to wait for the others: it is disturbed as well.
        self.struck = Struck(self.field.nodes, down, alone)


class KillAll(_Killed):
    """SIGKILL to all nodes at once."""

    hold_seconds = (0.0, 1.0)
    nodes_needed = 3
    claims = ("same cluster",)
    restarts_all = True

    def choose(self) -> None:
        self.struck = Struck(self.field.nodes, self.field.nodes)


class KillTwice(_Killed):
    """SIGKILL to a leader, and while its successor is elected to another node."""

    hold_seconds = (0.0, 2.0)
    nodes_needed = 3

    def choose(self) -> None:
        first = self.field.leader()
        second = self.field.random.choice([node for node in self.field.nodes if node != first])
        self.struck = Struck(self.field.nodes, (first, second))

    def begin(self) -> None:
        for node in self.struck.down:
            self.field.grounds.kill(node)
            time.sleep(self.field.random.uniform(0.0, 0.3))


class Stop(Strike):
    """SIGSTOP to a leader, SIGCONT: it did not notice that time went by."""

    hold_seconds = (0.5, 9.0)

    def choose(self) -> None:
        node = self.field.leader()
        self.struck = Struck((node,), (node,))

    def begin(self) -> None:
        self.field.grounds.freeze(self.struck.nodes[0])

    def end(self) -> None:
        self.field.grounds.thaw(self.struck.nodes[0])


class Restart(Strike):
    """SIGTERM to one node after the other, each started again when it has ended in order."""

    hold_seconds = (0.0, 1.0)
    starts_nodes = True
    _next = 0

    def choose(self) -> None:
        kind = type(self)
        turn = kind._next % len(self.field.nodes)
        kind._next += 1
        node = turn if turn in self.field.free else self.field.one()
        self.struck = Struck((node,), (node,))

    def begin(self) -> None:
        grounds, node = self.field.grounds, self.struck.nodes[0]
        child = grounds.children[node]
        assert child is not None
        child.send(signal.SIGTERM)
        deadline = time.monotonic() + TERM_SECONDS
        while child.end() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{child.node.name} did not end within {TERM_SECONDS:g} s of SIGTERM")
            time.sleep(0.02)
        assert child.end() == "exit code 0", f"{child.node.name} ended with {child.end()} after SIGTERM"
        grounds.kill(node)

    def end(self) -> None:
        grounds, node = self.field.grounds, self.struck.nodes[0]
        grounds.kill(node)
        grounds.start(node)


class Upgrade(Restart):
    """The next node in turn is restarted with another version's code (--other), when all have it with this one's again.

    Whatever happens between two of these happens to a cluster of both versions.
    """

    needs = ("other",)
    _next = 0

    def end(self) -> None:
        self.field.grounds.of_other ^= {self.struck.nodes[0]}
        super().end()


class Move(Strike):
    """No node dies: leaders hand over, again and again."""

    hold_seconds = (1.0, 5.0)
    nodes_needed = 0

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._due = 0.0

    def choose(self) -> None:
        self.struck = Struck()

    def begin(self) -> None:
        self._due = time.monotonic()

    def step(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self.field.random.uniform(0.1, 0.6)
        groups = self.field.groups()
        if groups:
            hand_over(
                self.field.grounds, self.field.random.choice(groups), self.field.random.choice(self.field.grounds.names)
            )

    def end(self) -> None:
        """It is over when nobody moves leaders any more."""
