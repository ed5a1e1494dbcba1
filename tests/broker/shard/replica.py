"""A replica of the random shard: its state, and the entries that it stores.

Law: an entry is deleted once, and only when nothing in it is alive.
"""

from __future__ import annotations

from cluster.broker.shard.state import Applied, ShardState


class Replica:
    """`whole`: has it applied every entry itself?"""

    def __init__(self) -> None:
        self.state = ShardState()
        self.stored: dict[int, bytes] = {}
        self.whole = True
        self._deleted: set[int] = set()

    def apply(self, index: int, data: bytes) -> Applied:
        """The next entry."""
        self.stored[index] = data
        return self.state.apply(index, data)

    def compact(self, up_to: int) -> None:
        dead = self.state.take_dead(up_to)
        assert dead == sorted(set(dead)), "in order, each once"
        assert not self._deleted & set(dead), "handed out once"
        self._deleted.update(dead)
        for index in dead:
            assert index not in self.state.live
            self.stored.pop(index, None)

    def copy(self) -> Replica:
        """Another one, from the snapshot and the live entries of this one."""
        made = Replica()
        made.whole = False
        made.state.restore(self.state.snapshot())
        made.stored = {index: self.stored[index] for index in self.state.live}
        assert made.state.snapshot() == self.state.snapshot()
        return made

    def check_end(self, commit: int) -> None:
        """Everything up to `commit` is applied, and no message is left."""
        if self.whole:
            dead = self._deleted | set(self.state.take_dead(commit))
            assert dead == set(range(1, commit + 1)), "an entry in which nothing is alive is not dead"
