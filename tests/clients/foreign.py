"""Programs of other languages as children of a test.

Law: a child ends with its test, and nothing is waited for without a deadline. A tool that the machine does not have
skips the test and names the Debian package; a tool that is there and fails, fails the test with all it said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

from tests.clients.conftest import Urls
from tests.cluster.harness import wait_until

PROGRAMS = Path(__file__).parent / "programs"
SCENE_SECONDS = 30.0
BUILD_SECONDS = 120.0
"""For what is compiled first."""


def need(tool: str, package: str) -> str:
    """The tool's path; skips without it."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed (Debian package {package})")
    return path


def need_library(command: Sequence[str], library: str, package: str) -> None:
    """Skips where `command`, which loads the library, fails."""
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{Path(command[0]).name} has no {library} (Debian package {package})")


def succeed(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    body: str = "",
    seconds: float = SCENE_SECONDS,
) -> str:
    """Standard output of a command that must end with 0 in time."""
    try:
        done = subprocess.run(
            command,
            input=body,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        said = [out.decode() if isinstance(out, bytes) else out or "" for out in (late.stdout, late.stderr)]
        raise AssertionError(f"{' '.join(command)}: not over within {seconds:g} s\n{''.join(said)}") from None
    assert done.returncode == 0, f"{' '.join(command)}: ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Stage:
    """Plays scenes of a program, whose `command` ends where a scene is named, through two nodes."""

    def __init__(
        self, command: Sequence[str], urls: Urls, name: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._command = command
        self._environment = environment
        self._arguments = [urls[0], urls[1], name]

    def play(self, scene: str) -> None:
        succeed([*self._command, scene, *self._arguments], environment=self._environment)


class Telling:
    """A child that says what it sees, one line each. A context manager; kills what is left."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self._command = " ".join(command)
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        if error is not None:
            print(f"--- {self._command}\n" + "\n".join(self.lines[-60:]))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def until(self, condition: Callable[[list[str]], bool], what: str) -> None:
        """What it has said fulfils the condition."""

        def there() -> bool:
            ended = self.process.poll() is not None
            if ended:
                self._reader.join()
            if condition(self.lines):
                return True
            assert not ended, f"it ended with {self.process.returncode} before: {what}"
            return False

        wait_until(there, what, SCENE_SECONDS)

    def ends(self) -> None:
        """With 0."""
        assert self.process.wait(SCENE_SECONDS) == 0, self.lines[-20:]
        self._reader.join()
