"""`clusterd dev` with stand-ins for nodes: real processes, real signals, no waiting but for what happens."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.node.dev.layout import HTTP_OFFSET, PEER_OFFSET, DevError, plan, port_in_use, write

FAKE_NODE = Path(__file__).with_name("fake_node.py")
CTL = "import os, sys; print(*sys.argv[1:]); sys.exit(int(os.environ['REFUSED']))"
SUPERVISE = (
    "import sys; from cluster.node.dev.command import run_dev; "
    f"ctl = (sys.executable, '-c', {CTL!r}); "
    f"sys.exit(run_dev(sys.argv[1:], program=(sys.executable, {str(FAKE_NODE)!r}), ctl=ctl))"
)


@pytest.fixture
def amqp_port(tmp_path: Path) -> int:
    """A first port with which nothing of three nodes collides."""
    first = 20_000 + os.getpid() % 5_000
    return next(port for port in range(first, 40_000, 10) if not port_in_use(plan(tmp_path, nodes=3, amqp_port=port)))


@contextlib.contextmanager
def supervisor(
    data: Path, amqp_port: int, behaviour: str = "", nodes: int = 3, refused: int = 0
) -> Iterator[subprocess.Popen[str]]:
    arguments = ["--data", str(data), "--amqp-port", str(amqp_port), "--nodes", str(nodes)]
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FAKE_NODE": behaviour, "REFUSED": str(refused)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_until_ready(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout
    lines: list[str] = []
    while lines[-1:] != ["ready"]:
        line = process.stdout.readline()
        assert line, f"ended before it was ready: {process.communicate()[1]}"
        lines.append(line.rstrip("\n"))
    return lines


def pids(lines: list[str]) -> list[int]:
    return [int(line.split(" pid ")[1].split()[0]) for line in lines[:-1]]


def wait_for_death(pid: int) -> None:
    """Until the kernel says that the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], 10)[0], f"process {pid} lives on"
        finally:
            os.close(descriptor)


def test_dev_tells_where_to_connect_and_then_prints_one_line_ready(tmp_path: Path, amqp_port: int) -> None:
    with supervisor(tmp_path, amqp_port) as process:
        lines = lines_until_ready(process)
        assert [line.split("  ")[:3] for line in lines[:-1]] == [
            [
                f"node-{index}",
                f"amqp://guest:guest@127.0.0.1:{amqp_port + index}",
                f"http://127.0.0.1:{amqp_port + HTTP_OFFSET + index}",
            ]
            for index in range(3)
        ]
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate()
        assert (rest, errors, process.returncode) == ("", "", 0)


def test_dev_stops_every_node_on_sigint_and_exits_0(tmp_path: Path, amqp_port: int) -> None:
    with supervisor(tmp_path, amqp_port) as process:
        children = pids(lines_until_ready(process))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        for pid in children:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def test_a_second_request_to_stop_kills_nodes_that_do_not_stop(tmp_path: Path, amqp_port: int) -> None:
    with supervisor(tmp_path, amqp_port, "stubborn") as process:
        children = pids(lines_until_ready(process))
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert process.returncode == 0
        assert errors.splitlines() == [
            f"clusterd dev: node-{index} did not stop in time and is killed" for index in range(3)
        ]
        for pid in children:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def test_nodes_die_with_a_supervisor_that_is_killed(tmp_path: Path, amqp_port: int) -> None:
    with supervisor(tmp_path, amqp_port, "stubborn") as process:
        children = pids(lines_until_ready(process))
        process.kill()
        for pid in children:
            wait_for_death(pid)


def test_dev_says_when_a_node_dies_and_restarts_nothing(tmp_path: Path, amqp_port: int) -> None:
    with supervisor(tmp_path, amqp_port) as process:
        children = pids(lines_until_ready(process))
        os.kill(children[1], signal.SIGKILL)
        assert process.stderr
        line = process.stderr.readline()
        assert line.startswith(f"clusterd dev: node-1 (pid {children[1]}) died: signal SIGKILL;")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert (tmp_path / "node-1/data/starts").read_text().split() == [str(children[1])]


def test_dev_ends_with_code_1_when_every_node_has_died(tmp_path: Path, amqp_port: int) -> None:
    with supervisor(tmp_path, amqp_port, nodes=2) as process:
        for pid in pids(lines_until_ready(process)):
            os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode == 1
        assert errors.splitlines()[-1] == "clusterd dev: no node is left"


def test_a_node_that_dies_before_ready_ends_the_cluster_and_shows_its_last_lines(
    tmp_path: Path, amqp_port: int
) -> None:
    with supervisor(tmp_path, amqp_port, "dies") as process:
        lines, errors = process.communicate()
        assert process.returncode == 1
        assert "ready" not in lines.splitlines()
        assert errors.splitlines()[0].split("; ")[0].endswith("died: exit code 3")
        assert errors.splitlines()[1] == "clusterd dev:   cannot go on"


def test_starting_again_on_the_same_data_continues_with_the_same_secret(tmp_path: Path, amqp_port: int) -> None:
    secrets = []
    for _ in range(2):
        with supervisor(tmp_path, amqp_port) as process:
            lines_until_ready(process)
            secrets.append((tmp_path / "secret").read_text())
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
    assert secrets[0] == secrets[1]
    assert len((tmp_path / "node-0/data/starts").read_text().split()) == 2


def test_a_hang_up_that_is_ignored_stays_ignored(tmp_path: Path, amqp_port: int) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with supervisor(tmp_path, amqp_port) as process:
            lines_until_ready(process)
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
            assert (process.returncode, errors) == (0, "")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_port_in_use_is_one_line_and_code_1(tmp_path: Path, amqp_port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", amqp_port + HTTP_OFFSET + 1)),
        supervisor(tmp_path, amqp_port) as process,
    ):
        lines, errors = process.communicate()
        assert (lines, process.returncode) == ("", 1)
        assert errors.splitlines() == [
            f"clusterd dev: port {amqp_port + HTTP_OFFSET + 1} (HTTP of node-1) is in use: choose another --amqp-port"
        ]


def test_two_supervisors_do_not_share_a_directory(tmp_path: Path, amqp_port: int) -> None:
    with supervisor(tmp_path, amqp_port) as first:
        lines_until_ready(first)
        with supervisor(tmp_path, amqp_port + 5) as second:
            _, errors = second.communicate()
            assert second.returncode == 1
            assert errors.splitlines() == [
                f"clusterd dev: {tmp_path} is in use by another clusterd dev (pid {first.pid})"
            ]


def test_a_wrong_flag_is_one_line_and_code_2(tmp_path: Path, amqp_port: int) -> None:
    with supervisor(tmp_path, amqp_port, nodes=0) as process:
        _, errors = process.communicate()
        assert (process.returncode, errors) == (2, "clusterd dev: --nodes: expected 1..64, got 0\n")


def test_more_nodes_than_the_directory_holds_are_added_to_them(tmp_path: Path) -> None:
    write(tmp_path, plan(tmp_path, nodes=3, amqp_port=5672))
    nodes = plan(tmp_path, nodes=5, amqp_port=5672)
    assert [node.name for node in nodes] == [f"node-{index}" for index in range(5)]
    assert plan(tmp_path, nodes=2, amqp_port=5672) == nodes[:3], "who is too many runs once more"


@pytest.mark.parametrize(("code", "left"), [(0, 2), (69, 3)])
def test_nodes_that_are_too_many_hand_over_and_go_or_stay_where_that_is_refused(
    tmp_path: Path, amqp_port: int, code: int, left: int
) -> None:
    with supervisor(tmp_path, amqp_port) as process:
        lines_until_ready(process)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    with supervisor(tmp_path, amqp_port, nodes=2, refused=code) as process:
        if code == 0:
            children = pids(lines_until_ready(process))
            wait_for_death(children[2])
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == (1 if code else 0)
    urls = [f"http://127.0.0.1:{amqp_port + HTTP_OFFSET + index}" for index in range(2)]
    asked = (tmp_path / "scale.log").read_text().split()
    assert asked == ["--url", urls[0], "--url", urls[1], "nodes", "scale", "2"]
    assert sorted(path.name for path in tmp_path.glob("node-*")) == [f"node-{index}" for index in range(left)]
    assert errors.splitlines()[0] == "clusterd dev: hand over what they hold, and go: node-2"
    assert ("they cannot leave" in errors) == bool(code)


def test_the_highest_peer_port_bounds_the_first_amqp_port(tmp_path: Path) -> None:
    assert plan(tmp_path, nodes=3, amqp_port=45_533)[-1].peer_port == 65_535
    with pytest.raises(DevError, match=r"--amqp-port: expected 1\.\.45533 for 3 nodes, got 45534"):
        plan(tmp_path, nodes=3, amqp_port=45_534)


def test_a_written_configuration_is_one_that_a_node_accepts(tmp_path: Path) -> None:
    from cluster.node.config import load

    data = tmp_path / 'a "quoted" näme'
    nodes = plan(data, nodes=3, amqp_port=5672)
    write(data, nodes)
    config = load(["--config", str(nodes[1].config_path)], {})
    assert (config.node.name, config.amqp.port, config.http.port, config.peer.port) == (
        "node-1",
        5673,
        15673,
        25673,
    )
    assert config.founder.name == "node-0"
    assert config.founder.port == 5672 + PEER_OFFSET
    assert tomllib.loads(nodes[1].config_path.read_text())["node"]["data_dir"] == str(data / "node-1" / "data")
    assert config.secret_bytes == (data / "secret").read_text().strip().encode()
