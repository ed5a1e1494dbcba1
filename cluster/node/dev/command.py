"""The supervisor of a local cluster.

Law: it starts every node once, restarts none, says when one dies, and ends with all of them. Nodes that the directory
holds beyond those that are wanted hand over what they have, are stopped, and their directories go. On stdout: where to
connect, then the one line `ready`; everything else goes to stderr. One thread, which takes signals where it waits for
them; no signal interrupts anything.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from cluster.node.dev.child import Child, start_process
from cluster.node.dev.layout import DRAIN_TIMEOUT_SECONDS, HOST, DevError, DevNode, plan, port_in_use, write

EXIT_FAILED = 1
EXIT_USAGE = 2

NODE_PROGRAM = (sys.executable, "-m", "cluster.node.main")
CTL_PROGRAM = (sys.executable, "-m", "cluster.clusterctl.main")

# Under nohup a hang-up stays ignored; SIGINT counts even where a shell started us in the background without it.
_HANG_UP = frozenset({signal.SIGHUP}) if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else frozenset()
_STOP = frozenset({signal.SIGINT, signal.SIGTERM}) | _HANG_UP
_WATCHED = _STOP | {signal.SIGCHLD}
_PROBE_INTERVAL_SECONDS = 0.02
_COMPLAINT_INTERVAL_SECONDS = 10.0
_PORT_PATIENCE_SECONDS = 1.0
"""A cluster that was killed a moment ago may still hold its ports for so long."""
_KILL_PATIENCE_SECONDS = 1.0


class _UsageError(Exception):
    """A bad command line, one line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _UsageError(message)


def run_dev(
    arguments: Sequence[str], *, program: Sequence[str] = NODE_PROGRAM, ctl: Sequence[str] = CTL_PROGRAM
) -> int:
    """Run a local cluster until a signal asks to stop or every node is gone. Returns the exit code."""
    parser = _Parser(prog="clusterd dev", description="A cluster on this machine, one process a node.")
    text = "how many (default 3); those that are new join, those that are too many hand over what they hold"
    parser.add_argument("--nodes", type=int, default=3, help=text)
    parser.add_argument("--data", type=Path, default=Path(".data/dev"), help="directory (default .data/dev)")
    parser.add_argument("--amqp-port", type=int, default=5672, help="of the first node (default 5672)")
    try:
        asked = parser.parse_args(arguments)
    except _UsageError as error:
        _say(str(error))
        return EXIT_USAGE
    try:
        nodes = plan(asked.data, nodes=asked.nodes, amqp_port=asked.amqp_port)
    except DevError as error:
        _say(str(error))
        return EXIT_USAGE
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    try:
        with _lock(asked.data):
            _wait_for_ports(nodes)
            write(asked.data, nodes)
            return Supervisor([Child(node, program) for node in nodes], asked.nodes, ctl).run()
    except DevError as error:
        _say(str(error))
        return EXIT_FAILED
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)


def _say(line: str) -> None:
    print(f"clusterd dev: {line}", file=sys.stderr, flush=True)


def _lock(data: Path) -> TextIO:
    """The directory's lock, held while the file is open. DevError when another supervisor has it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "lock").open("a+")
    except OSError as error:
        raise DevError(f"{error.filename or data}: {error.strerror}") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip()
        file.close()
        raise DevError(f"{data} is in use by another clusterd dev (pid {holder})") from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _wait_for_ports(nodes: Sequence[DevNode]) -> None:
    """DevError when a port stays in use."""
    deadline = time.monotonic() + _PORT_PATIENCE_SECONDS
    while (line := port_in_use(nodes)) is not None:
        if time.monotonic() >= deadline:
            raise DevError(line)
        time.sleep(_PROBE_INTERVAL_SECONDS)


class Supervisor:
    """The started nodes of a local cluster, from their start to the end of the last one."""

    def __init__(self, children: Sequence[Child], wanted: int, ctl: Sequence[str]) -> None:
        """The first `wanted` of them are to stay; `ctl` is the program that lets the others go."""
        self._children = children
        self._wanted = wanted
        self._ctl = ctl

    def run(self) -> int:
        """The exit code: 0 when asked to stop, 1 when a node died before `ready` or all of them after."""
        for child in self._children:
            node = child.node
            print(
                f"{node.name}  amqp://guest:guest@{HOST}:{node.amqp_port}  {node.http_url}"
                f"  pid {child.pid}  log {node.log_path}",
                flush=True,
            )
        status: subprocess.Popen[bytes] | None = None
        try:
            asked_to_stop = self._wait_until_ready()
            if asked_to_stop is None and self._wanted < len(self._children):
                asked_to_stop = self._shrink()
            if asked_to_stop is None:
                print("ready", flush=True)
                if sys.stdout.isatty():
                    status = self._show_status()
                asked_to_stop = self._supervise()
        finally:
            if status is not None:
                status.terminate()
            self._end(self._children)
        return 0 if asked_to_stop else EXIT_FAILED

    def _wait_until_ready(self) -> bool | None:
        """None once all are ready; True when asked to stop before, False when a node died before."""
        waiting = dict.fromkeys(self._children, "not listening yet")
        complaint_at = time.monotonic() + _COMPLAINT_INTERVAL_SECONDS
        while waiting:
            if self._take_signal(_PROBE_INTERVAL_SECONDS):
                return True
            if self._notice_ends():
                return False
            for child in list(waiting):
                reason = child.readiness()
                if reason is None:
                    del waiting[child]
                else:
                    waiting[child] = reason
            if waiting and time.monotonic() >= complaint_at:
                complaint_at += _COMPLAINT_INTERVAL_SECONDS
                for child, reason in waiting.items():
                    _say(f"{child.node.name} is not ready: {reason}")
        return None

    def _shrink(self) -> bool | None:
        """None once those that are too many have left; True when asked to stop before, False when they cannot leave."""
        staying, leaving = self._children[: self._wanted], self._children[self._wanted :]
        _say(f"hand over what they hold, and go: {', '.join([child.node.name for child in leaving])}")
        told = staying[0].node.directory.with_name("scale.log")
        process = start_process([*self._ctl, *_urls(staying), "nodes", "scale", str(self._wanted)], output=told)
        try:
            while process.poll() is None:
                if self._take_signal(_PROBE_INTERVAL_SECONDS):
                    return True
                if self._notice_ends():
                    return False
        finally:
            process.terminate()
        if process.returncode:
            _say(f"they cannot leave, see {told}: start it with --nodes {len(self._children)}")
            return False
        self._children = staying
        self._end(leaving)
        for child in leaving:
            shutil.rmtree(child.node.directory)
        return None

    def _supervise(self) -> bool:
        """True when asked to stop, False when no node is left."""
        while not all(child.gone for child in self._children):
            if self._take_signal(None):
                return True
            self._notice_ends()
        _say("no node is left")
        return False

    def _take_signal(self, timeout_seconds: float | None) -> bool:
        """Wait for a signal, at most so long; whether it asks to stop."""
        if timeout_seconds is None:
            return signal.sigwaitinfo(_WATCHED).si_signo in _STOP
        taken = signal.sigtimedwait(_WATCHED, timeout_seconds)
        return taken is not None and taken.si_signo in _STOP

    def _notice_ends(self) -> bool:
        """Tell of every node that ended since the last call; whether there was one."""
        ended = [child for child in self._children if not child.gone and child.end()]
        for child in ended:
            child.gone = True
            _say(f"{child.node.name} (pid {child.pid}) died: {child.end()}; {child.node.log_path} ends with:")
            for line in child.last_words():
                _say(f"  {line}")
        return bool(ended)

    def _show_status(self) -> subprocess.Popen[bytes]:
        return start_process([*self._ctl, *_urls(self._children), "status", "--watch", "-o", "wide"], output=None)

    def _end(self, children: Sequence[Child]) -> None:
        """SIGTERM to these; SIGKILL to the rest after the drain timeout or a second request to stop."""
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + DRAIN_TIMEOUT_SECONDS + _KILL_PATIENCE_SECONDS
        while (left := [child for child in children if child.end() is None]) and (
            remaining := deadline - time.monotonic()
        ) > 0:
            if self._take_signal(remaining):
                break
        for child in left:
            _say(f"{child.node.name} did not stop in time and is killed")
            child.send(signal.SIGKILL)
            child.wait()


def _urls(children: Sequence[Child]) -> list[str]:
    """As arguments of clusterctl."""
    return [part for child in children for part in ("--url", child.node.http_url)]
