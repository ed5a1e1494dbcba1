"""A run: a cluster, clients on all its nodes, and faults drawn from a seed until the time is over.

Law: the next fault waits until the cluster calls itself healthy; a cluster that does not get there in time ends the
faults, and what was seen by then is judged. Everything is written to the history before it is done. Whatever happens,
the processes and all that they stood on are gone when `run` returns.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chaos import topology
from chaos.clients.workload import Progress, Workload, read_progress, save
from chaos.comparison import compared
from chaos.history import (
    Began,
    FaultBegan,
    FaultMended,
    FaultOver,
    Formed,
    Healthy,
    Left,
    Note,
    Record,
    Stuck,
    Used,
)
from chaos.history_file import RUN, SUFFIX, Ended, HistoryWriter
from chaos.local_cluster import wait_until
from chaos.look import ask, ask_node, is_healthy, is_whole
from chaos.machine.grounds import Grounds
from chaos.strikes import catalogue
from chaos.strikes.strike import Field, Strike, Struck
from cluster.node.dev.child import start_process

CLIENTS = ("steady", "asynchronous", "definer")
WARM_UP_SECONDS = 4.0
CALM_SECONDS = (1.0, 5.0)
"""From the end of one fault to the next."""
HEALTHY_SECONDS = 90.0
"""What the cluster may take to become healthy after a fault."""
DRAIN_SECONDS = 150.0
"""What consumers may take to get through what is left when nothing is published any more."""
NEVER_BYTES = 1 << 62
"""What a node that tells nothing at the end is taken to hold."""
BACKLOG_RATE_MIN = 500
"""Messages a second, at which a backlog comes and goes at the latest."""
COMPACTION_SECONDS = 60.0
COMPARING_SECONDS = 30.0
"""How long replicas may be behind the others when nothing happens any more."""
ENDING_SECONDS = 30.0
STEP_SECONDS = 0.05
SHOW_SECONDS = 5.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """`duration`: seconds in which faults begin; `faults_max`: how many, 0 for as many as there is time for.

    `backlog`: messages in the deep queue before faults begin. `other`: a checkout with another version of the code.
    """

    faults: tuple[str, ...]
    duration: float
    seed: int
    rate: float
    gap_max: float
    faults_max: int = 0
    backlog: int = 0
    other: Path | None = None


class Run:
    """One run in `directory`: histories in `directory`/history, the nodes in `directory`/nodes."""

    def __init__(self, options: Options, directory: Path, tell: Tell) -> None:
        self.directory = directory
        self.history_path = directory / "history"
        self._options = options
        self._tell = tell
        self._random = random.Random(options.seed)
        self._number = 0
        self._met: list[int] = []
        """Faults that are not over: what nodes met of the damage that earlier ones left."""
        for path in (self.history_path, directory / "nodes"):
            path.mkdir(parents=True)
        self._history = HistoryWriter(self.history_path, RUN)
        self._struck_from = self._shown = self._looked_at = time.monotonic()

    def run(self) -> None:
        """To the end, or until the cluster or a fault does not do what it should: that is in the history, too."""
        try:
            self._end(self._play())
        finally:
            self._history.close()

    def _play(self) -> dict[str, int]:
        """The exit codes of the clients."""
        self._tell("making the ground the nodes stand on")
        try:
            grounds = Grounds(self.directory / "nodes", catalogue.needs(self._options.faults), self._options.other)
        except RuntimeError as error:
            self._note_stuck(error)
            return {}
        clients: dict[str, subprocess.Popen[bytes]] = {}
        try:
            grounds.start_all()
            wait_until(lambda: is_healthy(grounds), "the cluster healthy")
            options = self._options
            workload = topology.declare(
                grounds, self.history_path, rate=options.rate, seed=options.seed, backlog=options.backlog
            )
            self._write_beginning(workload)
            self._note_cluster(grounds, restarted=False)
            plan = self.directory / "workload.json"
            save(workload, plan)
            for name in CLIENTS:
                command = [sys.executable, "-m", f"chaos.clients.{name}", str(plan)]
                clients[name] = start_process(command, output=self._log(name))
            self._hold(grounds, WARM_UP_SECONDS, [])
            self._history.write(Used(t=time.monotonic(), when="baseline", by_node=self._used(grounds, 0)))
            self._fill(grounds)
            is_stuck = self._strike_on(grounds, workload)
            self._finish(grounds, workload, clients, patience=0.5 if is_stuck else 1.0)
        except (AssertionError, RuntimeError) as error:
            self._note_stuck(error)
        finally:
            for client in clients.values():
                client.kill()
                client.wait()
            grounds.close()
        return {name: client.returncode for name, client in clients.items()}

    def _end(self, codes: dict[str, int]) -> None:
        """Nobody gets here who was interrupted."""
        files = sorted({RUN, *[path.stem for path in self.history_path.glob("*" + SUFFIX)]})
        failed = tuple([name for name, code in codes.items() if code])
        self._history.write(Ended(t=time.monotonic(), files=tuple(files), failed=failed))

    def _log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def _write_beginning(self, workload: Workload) -> None:
        now = time.monotonic()
        self._struck_from = now
        self._history.write(
            Began(
                t=now,
                seed=self._options.seed,
                nodes=len(workload.nodes),
                wall=time.time(),
                claims=topology.CLAIMS,
                gap_max=self._options.gap_max,
            )
        )
        for plan in workload.queues:
            self._history.write(msgspec.structs.replace(plan.traits, t=now))
        self._history.flush()

    def _note_cluster(self, grounds: Grounds, *, restarted: bool) -> None:
        statuses = [ask_node(grounds, node, "/api/cluster/status") or {} for node in range(len(grounds.nodes))]
        clusters = tuple([str(status.get("cluster", {}).get("id", "")) for status in statuses])
        self._history.write(Formed(t=time.monotonic(), clusters=clusters, restarted=restarted))

    def _used(self, grounds: Grounds, unknown: int) -> tuple[int, ...]:
        """Bytes by node; `unknown` for one of which nobody can tell."""
        status = ask(grounds, "/api/cluster/status") or {"nodes": []}
        used = {node["name"]: int(node.get("disk_used_bytes", 0)) for node in status["nodes"]}
        return tuple([used.get(name) or unknown for name in grounds.names])

    # Faults.

    def _fill(self, grounds: Grounds) -> None:
        """Until the deep queue has its backlog. AssertionError when it does not come."""
        wanted = self._options.backlog
        if not wanted:
            return
        until = time.monotonic() + wanted / BACKLOG_RATE_MIN
        while (depth := topology.sweep(grounds, (topology.DEEP,)).get(topology.DEEP, 0)) < wanted:
            if time.monotonic() > until:
                raise AssertionError(f"the deep queue has {depth} messages of {wanted} by now")
            self._hold(grounds, 1.0, [])
        self._note(f"the deep queue has {depth} messages")
        self._struck_from = time.monotonic()

    def _strike_on(self, grounds: Grounds, workload: Workload) -> bool:
        """Fault after fault. Whether the cluster did not get over one."""
        options, queues = self._options, tuple([one.name for one in workload.queues])
        ground = Field(grounds, self._random, queues, self._note)
        deck = catalogue.Deck(options.faults, self._random)
        turns = 0
        while time.monotonic() - self._struck_from < options.duration and turns < (options.faults_max or turns + 1):
            turns += 1
            try:
                self._strike(ground, deck.draw())
                self._hold(grounds, self._random.uniform(*CALM_SECONDS), [])
                if self._met:
                    self._recover(grounds, [])
            except (AssertionError, RuntimeError) as error:
                self._note_stuck(error)
                return True
        return False

    def _note_stuck(self, error: Exception) -> None:
        self._history.write(Stuck(t=time.monotonic(), why=(str(error) or type(error).__name__).splitlines()[0]))
        self._history.flush()
        self._tell(f"STUCK: {error}")

    def _strike(self, ground: Field, names: list[str]) -> None:
        """These faults at once, up to the cluster being healthy. AssertionError when it does not get there."""
        ground.free = set(ground.nodes)
        strikes: list[tuple[int, Strike]] = []
        try:
            for name in names:
                one = catalogue.make(name, ground)
                one.choose()
                ground.free -= set(one.struck.nodes) if one.nodes_needed else set()
                self._begin_fault(name, one.struck, one.claims, since=time.monotonic())
                strikes.append((self._number - 1, one))
                one.begin()
                if one is not strikes[0][1]:
                    continue
                if len(names) > 1:
                    self._hold(ground.grounds, self._random.uniform(0.0, 1.5), [one])
            low = max(one.hold_seconds[0] for _, one in strikes)
            high = max(one.hold_seconds[1] for _, one in strikes)
            self._hold(ground.grounds, self._random.uniform(low, high), [one for _, one in strikes])
        finally:
            for _, one in self._random.sample(strikes, len(strikes)):
                one.end()
        self._recover(ground.grounds, strikes)

    def _look_after(self, grounds: Grounds, struck: set[int]) -> None:
        """AssertionError when a node has ended that no fault has struck. One that met what is left of the damage of an
        earlier fault is started again, as whoever runs it would."""
        for node, child in enumerate(grounds.children):
            if node in struck or child is None or (end := child.end()) is None:
                continue
            if not grounds.has_met_damage(node):
                raise AssertionError(f"{grounds.names[node]} ended by itself: {end}")
            self._met.append(self._number)
            self._begin_fault("damage-met", Struck((node,), (node,)), (), since=self._looked_at)
            grounds.start(node)
        self._looked_at = time.monotonic()

    def _note_all(self, records: Iterable[Record]) -> None:
        for record in records:
            self._history.write(record)

    def _note(self, text: str) -> None:
        self._history.write(Note(t=time.monotonic(), text=text))
        self._tell(text)

    def _begin_fault(self, kind: str, struck: Struck, claims: tuple[str, ...], since: float) -> None:
        self._history.write(
            FaultBegan(
                t=since,
                number=self._number,
                kind=kind,
                nodes=struck.nodes,
                down=struck.down,
                minority=struck.minority,
                cut=struck.cut,
                clocks=struck.clocks,
                claims=claims,
            )
        )
        self._history.flush()
        self._number += 1
        self._tell(f"fault {self._number - 1}: {kind} of nodes {', '.join(map(str, struck.nodes)) or 'none'}")

    def _recover(self, grounds: Grounds, strikes: list[tuple[int, Strike]]) -> None:
        began = time.monotonic()
        struck = [number for number, _ in strikes]
        kinds = ", ".join([type(one).__name__ for _, one in strikes]) or "damage that was left"

        def is_so(condition: Callable[[Grounds], bool]) -> bool:
            self._look_after(grounds, set())
            return condition(grounds)

        wait_until(lambda: is_so(Grounds.is_ready), f"all nodes ready after {kinds}", HEALTHY_SECONDS)
        mended = [*struck, *self._met]
        self._note_all([FaultMended(t=time.monotonic(), number=number) for number in mended])
        wait_until(lambda: is_so(is_whole), f"the cluster whole and healthy after {kinds}", HEALTHY_SECONDS)
        now = time.monotonic()
        self._note_all([FaultMended(t=now, number=number) for number in self._met if number not in mended])
        self._note_all([FaultOver(t=now, number=number) for number in [*struck, *self._met]])
        self._met.clear()
        self._history.write(Healthy(t=now, seconds=now - began))
        if any(one.restarts_all for _, one in strikes):
            self._note_cluster(grounds, restarted=True)
        self._history.flush()
        self._tell(f"healthy {now - began:.1f} s later")
        self._note_all(compared(grounds, 0.0))

    def _hold(self, grounds: Grounds, seconds: float, strikes: list[Strike]) -> None:
        """Let time go by, in which faults may go on with what they do. AssertionError when a node ends by itself that
        no fault has struck."""
        until = time.monotonic() + seconds
        struck = {node for one in strikes if one.starts_nodes for node in one.struck.down}
        while time.monotonic() < until:
            for one in strikes:
                one.step()
            self._look_after(grounds, struck)
            self._show()
            time.sleep(STEP_SECONDS)

    # The end.

    def _show(self) -> Progress:
        """Where the clients stand; told now and then."""
        progress = read_progress(self.history_path)
        if time.monotonic() > self._shown + SHOW_SECONDS:
            self._shown = time.monotonic()
            self._tell(
                f"published {progress.published:,}, confirmed {progress.confirmed:,}, "
                f"delivered {progress.delivered:,}, waiting {progress.waiting:,}, held {progress.held:,}"
            )
        return progress

    def _finish(
        self, grounds: Grounds, workload: Workload, clients: dict[str, subprocess.Popen[bytes]], patience: float
    ) -> None:
        """Stop publishing, let consumers get through, end the clients, and look at what is left."""
        queues = tuple([plan.name for plan in workload.queues])
        for node in range(len(grounds.nodes)):
            if not grounds.is_running(node):  # the cluster did not get over something
                grounds.kill(node)
                grounds.start(node)
        for client in clients.values():
            client.send_signal(signal.SIGUSR1)
        self._tell("publishing stopped; consuming what is left")
        until = time.monotonic() + DRAIN_SECONDS * patience + self._options.backlog / BACKLOG_RATE_MIN
        left = dict.fromkeys(queues, -1)
        while time.monotonic() < until:
            left = topology.sweep(grounds, queues)
            progress = self._show()
            if len(left) == len(queues) and not any(left.values()) and not progress.waiting and not progress.held:
                break
            time.sleep(0.5)
        for client in clients.values():
            client.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + ENDING_SECONDS
        for name, client in clients.items():
            try:
                code = client.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._history.write(Stuck(t=time.monotonic(), why=f"the client {name} waits for an answer still"))
                continue
            if code:
                self._history.write(Stuck(t=time.monotonic(), why=f"the client {name} ended with {code}"))
        for queue in queues:
            self._history.write(Left(t=time.monotonic(), queue=queue, messages=left.get(queue, -1)))
        self._history.write(Note(t=time.monotonic(), text="the clients have ended"))
        self._note_all(compared(grounds, COMPARING_SECONDS * patience))
        self._wait_for_compaction(grounds, patience)

    def _wait_for_compaction(self, grounds: Grounds, patience: float) -> None:
        """The smallest that the stores become within the time."""
        until = time.monotonic() + COMPACTION_SECONDS * patience
        used = self._used(grounds, NEVER_BYTES)
        while time.monotonic() < until and max(used, default=0) > 8 << 20:
            time.sleep(1.0)
            used = tuple([min(a, b) for a, b in zip(used, self._used(grounds, NEVER_BYTES), strict=True)])
        self._history.write(Used(t=time.monotonic(), when="end", by_node=used))
