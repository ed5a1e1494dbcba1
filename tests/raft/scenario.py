"""Plays scenario files: what a group does, step by step, readable and compared to the letter.

Law: a scenario is a text. Lines that begin with `#` are remarks, lines that begin with `> ` are commands, and
the indented lines after a command are exactly what it made happen, in order. Nothing happens by itself: see
`Ensemble`. `python -m tests.raft.scenario` compares every file of `scenarios/`; with `--update` it writes
what happens into them, to be read before it is committed.

    cluster voters=1,2,3 [others=4] [option=number ...]     begin; options are those of RaftConfig
    disk NODE terms=1,1,2 [term=3] [vote=1] [commit=1]      give a member a history, and restart it
    elect NODE                                              campaign and settle, told in one line
    campaign NODE | step-down NODE | propose NODE text... | transfer NODE TARGET | read NODE context
    members NODE voters=1,2 [learners=3]                    propose a configuration
    snapshot NODE                                           the state machine makes its index of all applied
    tick NODE [count]
    deliver [SOURCE>TARGET]                                 what is in the queue now
    lose [SOURCE>TARGET]                                    the same, but it never arrives
    write NODE                                              the write under way is durable
    settle [except NODE ...]                                until nothing moves; writes of these stand still
    isolate NODE | heal
    connected NODE PEER | disconnected NODE PEER
    crash NODE | restart NODE
    status | logs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from cluster.raft.group import NotLeader, ProposalDropped, RaftConfig, RaftGroup
from cluster.raft.types import Configuration, LogIndex, NodeId
from tests.raft.ensemble import Ensemble, describe_configuration, fill

DIRECTORY = Path(__file__).parent / "scenarios"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


class Player:
    """One scenario being played."""

    def __init__(self) -> None:
        self.ensemble = Ensemble()

    def play(self, command: str) -> list[str]:
        """Carry out one command; the lines of what happened. Raises ValueError for one that is unknown."""
        name, *words = command.split()
        plain = [word for word in words if "=" not in word]
        options = dict(word.split("=", 1) for word in words if "=" in word)
        action = _COMMANDS.get(name)
        if action is None:
            raise ValueError(f"unknown command: {command}")
        self.ensemble.lines.clear()
        try:
            action(self, plain, options)
        except (NotLeader, ProposalDropped) as refusal:
            self.ensemble.lines.append(f"{type(refusal).__name__}: {refusal}")
        return self.ensemble.lines.copy() or ["nothing happens"]

    def _cluster(self, words: list[str], options: dict[str, str]) -> None:
        voters, others = _numbers(options.pop("voters")), _numbers(options.pop("others", ""))
        config = RaftConfig(**{name: int(value) for name, value in options.items()})  # type: ignore[arg-type]
        self.ensemble = Ensemble(voters, others=others, config=config)

    def _disk(self, words: list[str], options: dict[str, str]) -> None:
        node = int(words[0])
        fill(
            self.ensemble.disks[node],
            _numbers(options["terms"]),
            term=int(options["term"]) if "term" in options else None,
            vote=int(options.get("vote", "0")),
            commit_index=int(options.get("commit", "0")),
        )
        self.ensemble.start(node)

    def _elect(self, words: list[str], options: dict[str, str]) -> None:
        leader = self.ensemble.elect(int(words[0]))
        self.ensemble.lines[:] = [f"{words[0]} is {leader.role.value} in term {leader.term}"]

    def _propose(self, words: list[str], options: dict[str, str]) -> None:
        group = self.ensemble.groups[int(words[0])]
        for text in words[1:]:
            group.propose(text.encode())
        self.ensemble.collect()

    def _members(self, words: list[str], options: dict[str, str]) -> None:
        voters, learners = (
            tuple(NodeId(node) for node in _numbers(options.get(half, ""))) for half in ("voters", "learners")
        )
        self._do(words, lambda group: group.propose_configuration(Configuration(voters, (), learners)))

    def _snapshot(self, words: list[str], options: dict[str, str]) -> None:
        self._do(words, lambda group: group.snapshot_created(LogIndex(group.status().applied_index), b"index"))

    def _do(self, words: list[str], what: Callable[[RaftGroup], object]) -> None:
        self.ensemble.do(int(words[0]), what)

    def _pair(self, words: list[str]) -> tuple[int | None, int | None]:
        if not words:
            return None, None
        source, target = words[0].split(">")
        return int(source) if source else None, int(target) if target else None

    def _lose(self, words: list[str], options: dict[str, str]) -> None:
        self.ensemble.lines += [
            f"lost: {message.source}>{message.target} {type(message).__name__}"
            for message in self.ensemble.take(*self._pair(words))
        ]

    def _restart(self, words: list[str], options: dict[str, str]) -> None:
        group = self.ensemble.start(int(words[0]))
        self.ensemble.lines.append(f"{words[0]} has term {group.term} and a log up to {group.last_index}")

    def _status(self, words: list[str], options: dict[str, str]) -> None:
        for node, group in self.ensemble.groups.items():
            status = group.status()
            self.ensemble.lines.append(
                f"{node} {status.role.value} term={status.term} leader={status.leader} "
                f"commit={status.commit_index} last={status.last_index} "
                f"{describe_configuration(status.configuration)}"
            )
            for peer, replica in status.progress.items():
                self.ensemble.lines.append(
                    f"  {peer}: {replica.state} match={replica.match_index} next={replica.next_index}"
                    f"{'' if replica.active else ' inactive'}"
                )

    def _logs(self, words: list[str], options: dict[str, str]) -> None:
        self.ensemble.lines += [f"{node}: {terms}" for node, terms in self.ensemble.logs().items()]


_Action = Callable[[Player, list[str], dict[str, str]], object]

_COMMANDS: dict[str, _Action] = {
    "cluster": Player._cluster,
    "disk": Player._disk,
    "elect": Player._elect,
    "propose": Player._propose,
    "members": Player._members,
    "snapshot": Player._snapshot,
    "lose": Player._lose,
    "restart": Player._restart,
    "status": Player._status,
    "logs": Player._logs,
    "campaign": lambda player, words, options: player._do(words, RaftGroup.campaign),
    "step-down": lambda player, words, options: player._do(words, RaftGroup.step_down),
    "transfer": lambda player, words, options: player._do(
        words, lambda group: group.transfer_leadership(NodeId(int(words[1])))
    ),
    "read": lambda player, words, options: player._do(words, lambda group: group.read_index(int(words[1]))),
    "connected": lambda player, words, options: player._do(
        words, lambda group: group.peer_connected(NodeId(int(words[1])))
    ),
    "disconnected": lambda player, words, options: player._do(
        words, lambda group: group.peer_disconnected(NodeId(int(words[1])))
    ),
    "tick": lambda player, words, options: player.ensemble.tick(int(words[0]), int(words[1]) if len(words) > 1 else 1),
    "deliver": lambda player, words, options: player.ensemble.deliver(*player._pair(words)),
    "write": lambda player, words, options: player.ensemble.write(int(words[0])),
    "settle": lambda player, words, options: player.ensemble.settle(
        without_writes_of=[int(word) for word in words[1:]]
    ),
    "isolate": lambda player, words, options: player.ensemble.isolate(int(words[0])),
    "heal": lambda player, words, options: player.ensemble.heal(),
    "crash": lambda player, words, options: player.ensemble.crash(int(words[0])),
}


def perform(text: str) -> str:
    """The same scenario with what really happens in the place of what it says."""
    player = Player()
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("  "):
            continue
        lines.append(line)
        if line.startswith("> "):
            lines += ["  " + told for told in player.play(line[2:])]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="compare or update the scenarios")
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    differing = 0
    for path in sorted(DIRECTORY.glob("*.txt")):
        before = path.read_text()
        after = perform(before)
        if before != after:
            differing += 1
            print(f"{path.name} {'updated' if options.update else 'differs'}")
            if options.update:
                path.write_text(after)
    return 1 if differing and not options.update else 0


if __name__ == "__main__":
    sys.exit(main())
