"""The turns of a node's parts: what they have gathered for each other is carried between them.

Law: all parts have their turn in one step of one task, once per round of the scheduler: a task each would cost a pass
of the scheduler for every hand that a message goes through. What can leave does so before a small write keeps the
thread for a moment.
"""

from __future__ import annotations

from collections.abc import Callable

from cluster.node.links import Links
from cluster.node.shards.switchboard import Switchboard
from cluster.raft.runtime import PromptWriter, Runtime
from cluster.raft.runtime.wakeup import Wakeup

_LEGS_MAX = 8
"""Times that the parts give each other something to do within one turn, before other tasks have theirs."""


class Turns:
    """`on_round` is run at the end of each leg after `ask`, to write to clients."""

    def __init__(self, wakeup: Wakeup, switchboard: Switchboard, links: Links) -> None:
        """`wakeup` wakes whoever runs this."""
        self.on_round: Callable[[], None] = _nothing
        self._wakeup = wakeup
        self._switchboard = switchboard
        self._links = links
        self._asked = Wakeup()
        """Clients are to be written to."""
        self._asked.led_by(wakeup)

    def ask(self) -> None:
        """Let a turn follow this round, and in it `on_round`."""
        self._asked.wake()

    async def run(self, runtime: Runtime, prompt: PromptWriter | None) -> None:
        """Take the turns of the parts until cancelled; then each takes its own again. None: consensus writes alone."""
        self._lead(runtime, prompt, self._wakeup)
        try:
            while True:
                await self._wakeup.wait()
                self._turn(runtime, prompt)
        finally:
            self._lead(runtime, prompt, None)

    def _lead(self, runtime: Runtime, prompt: PromptWriter | None, wakeup: Wakeup | None) -> None:
        runtime.led_by(wakeup)
        self._links.led_by(wakeup)
        if prompt is not None:
            prompt.is_attended = wakeup is not None
            prompt.carry_out()

    def _turn(self, runtime: Runtime, prompt: PromptWriter | None) -> None:
        switchboard, asked, links = self._switchboard, self._asked, self._links
        for _ in range(_LEGS_MAX):
            switchboard.pump()
            runtime.turn()
            switchboard.pump()
            if asked.take():
                self.on_round()
            links.turn()
            if prompt is not None:
                prompt.carry_out()
            if not (runtime.wants_turn or switchboard.wants_pump or asked.is_wanted or links.wants_turn):
                self._wakeup.take()
                return
        self._wakeup.wake()


def _nothing() -> None:
    """No clients yet."""
