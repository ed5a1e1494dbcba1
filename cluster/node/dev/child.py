"""A node's process, as the supervisor of a local cluster sees it.

Law: a child never outlives its supervisor (the kernel kills it when the supervisor dies, however that is)
and never sees the terminal's signals: the supervisor alone decides when it stops.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster.node.dev.layout import DevNode

_PR_SET_PDEATHSIG = 1
_PROBE_TIMEOUT_SECONDS = 0.5
_LAST_WORDS_BYTES = 4096
_READY_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

_libc = ctypes.CDLL(None, use_errno=True)


def start_process(command: Sequence[str], *, output: Path | None) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, tied to this process's life.

    `output` is a file to which stdout and stderr are appended; None leaves them as they are. Raises OSError.
    """
    supervisor = os.getpid()

    def tie() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if os.getppid() != supervisor:  # it died between the fork and the call above
            os._exit(1)

    file = output.open("ab") if output else None
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=tie,  # noqa: PLW1509 - the supervisor has no threads
        )
    finally:
        if file:
            file.close()


class Child:
    """A started node."""

    __slots__ = ("_process", "gone", "node")

    def __init__(self, node: DevNode, program: Sequence[str]) -> None:
        self.node = node
        self._process = start_process([*program, "--config", str(node.config_path)], output=node.log_path)
        self.gone = False
        """Whether the supervisor has noticed the end of the process."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self) -> str | None:
        """How the process ended: `"exit code 1"`, `"signal SIGKILL"`; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def send(self, number: signal.Signals) -> None:
        """Does nothing to a process that has ended."""
        self._process.send_signal(number)

    def wait(self) -> None:
        self._process.wait()

    def readiness(self) -> str | None:
        """None when the node answers `/readyz` with 200; else one line that says what is missing."""
        address = (self.node.host, self.node.http_port)
        try:
            with socket.create_connection(address, timeout=_PROBE_TIMEOUT_SECONDS) as connection:
                connection.sendall(_READY_REQUEST)
                answer = b""
                while part := connection.recv(4096):
                    answer += part
        except ConnectionRefusedError:
            return "not listening yet"
        except OSError as error:
            return f"no answer to /readyz: {error}"
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if status == [b"200"]:
            return None
        return body.decode(errors="replace").strip() or "answers /readyz without a reason"

    def last_words(self) -> list[str]:
        """The last lines of the node's log, at most three."""
        try:
            with self.node.log_path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST_WORDS_BYTES))
                return file.read().decode(errors="replace").splitlines()[-3:]
        except OSError:
            return []
