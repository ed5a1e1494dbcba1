"""Where the time of a lone confirm goes: what the nodes and the client ask of the kernel, by the kernel's own clock.

    python -m bench.budget [--seconds 2]        (as root, where the kernel can trace system calls)

Law: one publisher waits for each confirm, one consumer acks each message, both on the leader. What is shown of a
step is the median over all messages, so the steps need not add up to the whole. Nothing is patched:
the nodes run as ever, and the tracer costs about a microsecond a call.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.systems import Ours, build_load, declare

TRACING = Path("/sys/kernel/tracing")
_CALLS = ("recvfrom", "sendmsg", "futex", "pwrite64", "writev", "fdatasync", "read", "write")
_LINE = re.compile(r".+-(\d+)\s+\[\d+\] \S+\s+([\d.]+): sys_(\w+)(?:\(fd: (\w+)| -> (\w+)|)")
_QUEUE = "bench-budget"
_PUBLISH_BYTES_MIN = 256
"""What a client writes at once and is more than an ack."""
_BUFFER_KIB = 16384


@dataclass(frozen=True, slots=True)
class Call:
    """`seconds` by the kernel's clock. `fd` of one that begins, `result` of one that ends; -1 if there is none."""

    thread: int
    seconds: float
    name: str
    fd: int
    result: int


@contextmanager
def traced(threads: Sequence[int]) -> Iterator[Path]:
    """The file in which the calls of these threads are, from now on. Raises OSError where that is not possible."""
    instance = TRACING / "instances" / "clustermq-budget"
    instance.mkdir()
    try:
        (instance / "buffer_size_kb").write_text(str(_BUFFER_KIB))
        (instance / "trace_clock").write_text("mono")
        (instance / "set_event_pid").write_text(" ".join(map(str, threads)))
        for call in _CALLS:
            for end in ("enter", "exit"):
                (instance / "events" / "syscalls" / f"sys_{end}_{call}" / "enable").write_text("1")
        yield instance / "trace"
    finally:
        instance.rmdir()


def calls_in(trace: Path) -> list[Call]:
    found: list[Call] = []
    with trace.open() as lines:
        for line in lines:
            match = _LINE.match(line)
            if match is not None:
                thread, seconds, name, fd, result = match.groups()
                found.append(
                    Call(int(thread), float(seconds), name, int(fd or "-1", 16), _signed(result) if result else -1)
                )
    return found


def _signed(text: str) -> int:
    number = int(text, 16)
    return number - (1 << 64) if number >> 63 else number


class Track:
    """The calls of one message, looked at in order."""

    def __init__(self, calls: Sequence[Call], start: int) -> None:
        self._calls = calls
        self._at = start

    def next(self, threads: set[int], wanted: Callable[[Call], bool]) -> Call:
        """The first from here on. Raises LookupError."""
        for at in range(self._at, min(self._at + 400, len(self._calls))):
            call = self._calls[at]
            if call.thread in threads and wanted(call):
                self._at = at
                return call
        raise LookupError


def begins(*names: str) -> Callable[[Call], bool]:
    return lambda call: call.name in names and call.fd >= 0


def gives(name: str, least: int) -> Callable[[Call], bool]:
    return lambda call: call.name == name and call.fd < 0 and call.result >= least


STEPS = (
    "the client's write, until the leader has read it",
    "leader: parsed, batched, in an entry, sent to a follower",
    "leader: sent to the other, handed to its writer's thread",
    "the writer's thread begins to write",
    "it is durable on the leader",
    "leader: goes on, and has read a follower's answer",
    "leader: committed, applied, confirmed to the socket",
    "the client has read it",
)
WHOLE = "all of it"
FOLLOWER = "meanwhile, a follower: read to answer"


def steps_of(
    calls: Sequence[Call], client: int, leader: int, followers: set[int], writer: set[int]
) -> list[list[float]]:
    """For each message the microseconds of STEPS, of the whole, and of a follower's part."""
    found: list[list[float]] = []
    for at, call in enumerate(calls):
        if call.thread == client and gives("write", _PUBLISH_BYTES_MIN)(call):
            try:
                found.append(_steps(Track(calls, at), Track(calls, at), call, leader, followers, writer))
            except LookupError:
                continue
    return found


def _steps(
    track: Track, beside: Track, written: Call, leader: int, followers: set[int], writer: set[int]
) -> list[float]:
    main, client = {leader}, {written.thread}
    times = [written.seconds]
    times.append(track.next(main, gives("recvfrom", written.result)).seconds)
    times.append(track.next(main, begins("sendmsg")).seconds)
    times.append(track.next(main, lambda call: call.name == "futex").seconds)
    times.append(track.next(writer, begins("pwrite64", "writev")).seconds)
    times.append(track.next(writer, lambda call: call.name == "futex").seconds)
    times.append(track.next(main, gives("recvfrom", 1)).seconds)
    times.append(track.next(main, begins("sendmsg")).seconds)
    times.append(track.next(client, begins("read")).seconds)
    beside.next(main, begins("sendmsg"))
    read = beside.next(followers, gives("recvfrom", _PUBLISH_BYTES_MIN))
    answered = beside.next({read.thread}, begins("sendmsg"))
    parts = [after - before for before, after in itertools.pairwise(times)]
    return [1e6 * part for part in (*parts, times[-1] - times[0], answered.seconds - read.seconds)]


def threads_of(pid: int) -> list[int]:
    return sorted(int(path.name) for path in Path(f"/proc/{pid}/task").iterdir())


def measure(directory: Path, seconds: float) -> list[list[float]]:
    """Raises OSError where calls cannot be traced."""
    system = Ours(directory)
    try:
        program = build_load(directory)
        declare(system.ports[0], _QUEUE, {"x-queue-type": "quorum"})
        port = system.leader_port(_QUEUE)
        pids = system.pids()
        leader = pids[system.ports.index(port)]
        host = f"127.0.0.1:{port}"
        command = [str(program), "--pub", host, "--con", host, "--queue", _QUEUE, "--keep", "--window", "1"]
        with subprocess.Popen(
            [*command, "--prefetch", "1", "--duration", str(int(seconds) + 3)], stdout=subprocess.DEVNULL
        ) as load:
            time.sleep(2)
            threads = [thread for pid in pids for thread in threads_of(pid)]
            with traced([load.pid, *threads]) as trace:
                time.sleep(seconds)
                calls = calls_in(trace)
        writers = set(threads_of(leader)) - {leader}
        return steps_of(calls, load.pid, leader, set(pids) - {leader}, writers)
    finally:
        system.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.budget", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        try:
            messages = measure(Path(directory), arguments.seconds)
        except OSError as error:
            print(f"system calls cannot be traced here: {error}", file=sys.stderr)
            return 1
    if not messages:
        print("no message was traced from begin to end", file=sys.stderr)
        return 1
    print(f"{len(messages)} messages, medians")
    for name, values in zip((*STEPS, WHOLE, FOLLOWER), zip(*messages, strict=True), strict=True):
        print(f"{name:60} {median(values):7.0f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
