"""`clusterd` around a node: what the machine refuses is one line, a fault of ours is a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The assembly is replaced before it is imported; what it does is the body that a test gives.
PROGRAM = """
import sys, types, trio
from cluster.raft.storage import StorageIO

async def run_node(config, *, task_status):
{body}

assembly = types.ModuleType("cluster.node.node")
assembly.run_node = run_node
sys.modules["cluster.node.node"] = assembly
from cluster.node.main import main
sys.exit(main(["--node-name", "mq-0", "--node-data-dir", "/data"]))
"""


def clusterd(*body: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(body="\n".join(f"    {line}" for line in body))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_a_node_that_stopped_as_asked_ends_with_code_0() -> None:
    ended = clusterd("task_status.started()")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        ("OSError(98, 'Address already in use')", "Address already in use"),
        ("OSError(28, 'No space left on device')", "/data: No space left on device"),
        ("PermissionError(13, 'Permission denied', '/data')", "/data: Permission denied"),
        ("StorageIO('/data: input/output error')", "/data: input/output error"),
        ("ExceptionGroup('g', [OSError(98, 'Address already in use')])", "Address already in use"),
    ],
)
def test_what_the_machine_refuses_at_start_is_one_line_and_code_1(failure: str, line: str) -> None:
    ended = clusterd(f"raise {failure}")
    assert (ended.returncode, ended.stderr) == (1, f"clusterd: mq-0: {line}\n")


def test_a_disk_that_fails_while_the_node_runs_is_one_line_and_code_1() -> None:
    ended = clusterd("task_status.started()", "raise StorageIO('/data: input/output error')")
    assert (ended.returncode, ended.stderr) == (1, "clusterd: mq-0: /data: input/output error\n")


@pytest.mark.parametrize(
    "failure",
    ["AssertionError('law broken')", "ExceptionGroup('g', [OSError(98, 'in use'), AssertionError('law broken')])"],
)
def test_a_fault_of_ours_is_a_traceback(failure: str) -> None:
    ended = clusterd(f"raise {failure}")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert "law broken" in ended.stderr


def test_an_oserror_while_the_node_runs_is_a_fault_of_ours() -> None:
    ended = clusterd("task_status.started()", "raise OSError(104, 'Connection reset by peer')")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


def test_the_supervisor_of_a_local_cluster_imports_nothing_of_a_node() -> None:
    program = (
        "import sys; from cluster.node.main import main; import cluster.node.dev.command; "
        "print(*sorted(name for name in sys.modules if name.startswith(('cluster', 'trio', 'msgspec', 'lmdb'))))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [
        "cluster",
        "cluster.node",
        "cluster.node.dev",
        "cluster.node.dev.child",
        "cluster.node.dev.command",
        "cluster.node.dev.layout",
        "cluster.node.main",
    ]
