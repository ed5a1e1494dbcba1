"""A network and a mount table of the run's own.

Law: what a run mounts, and every interface and rule it makes, lives in namespaces that belong to its processes alone:
the machine around it is never touched, and when the last of its processes has ended, however that was, the kernel takes
all of it away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

_MARK = "CHAOS_ISOLATED"


def missing_for_isolation() -> str:
    """Why this machine cannot give namespaces; empty when it can."""
    if os.geteuid() != 0:
        return "not root"
    absent = [tool for tool in ("unshare", "nsenter", "ip", "nft") if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: util-linux iproute2 nftables)"
    tried = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() if tried.returncode else ""


def is_isolated() -> bool:
    return os.environ.get(_MARK) == str(os.getpid())


def isolate(module: str, arguments: Sequence[str]) -> None:
    """Begin again as `python -m module arguments` in namespaces of our own. Does not return."""
    os.environ[_MARK] = str(os.getpid())  # exec keeps the process id
    command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, "-m", module, *arguments]
    os.execvp(command[0], command)


def run(*command: str, text: str | None = None) -> str:
    """What a tool printed. RuntimeError with what it complained of."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
