"""What should not be said to a node, and starts that cannot work: a proper close or one clear line, and no more.

Every test but the last ones runs while another client publishes and consumes through the same node: see `undisturbed`.
"""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.amqp import methods as m
from cluster.amqp.constants import FRAME_END, PROTOCOL_HEADER
from cluster.amqp.frames import method_frame
from cluster.node.bootstrap import Charter, establish, identity_of
from cluster.node.config.peers import PeerSpec
from cluster.node.dev.layout import HTTP_OFFSET, PEER_OFFSET
from cluster.raft.types import NodeId
from cluster.store.lmdb_store import LmdbStore
from tests.cluster.clients import consume, declare, drain, publish
from tests.cluster.harness import HOST, LocalCluster, wait_until
from tests.cluster.harness import free_ports as free_first_port

DEADLINE_SECONDS = 5.0


class RawClient:
    """A socket that speaks AMQP only as far as it is told to."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection((HOST, port), timeout=DEADLINE_SECONDS)
        self._buffer = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def log_in(self) -> None:
        """Up to connection.open-ok, and channel 1 open."""
        self.send(PROTOCOL_HEADER)
        assert self.method() == m.ConnectionStart.KEY
        self.send(method_frame(0, m.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest", "en_US").encode()))
        assert self.method() == m.ConnectionTune.KEY
        self.send(method_frame(0, m.ConnectionTuneOk(2047, 131072, 0).encode()))
        self.send(method_frame(0, m.ConnectionOpen("/").encode()))
        assert self.method() == m.ConnectionOpenOk.KEY
        self.send(method_frame(1, m.ChannelOpen().encode()))
        assert self.method() == m.ChannelOpenOk.KEY

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def frame(self) -> bytes:
        """The payload of the next frame."""
        _, _, size = struct.unpack(">BHI", self.read(7))
        return self.read(size + 1)[:-1]

    def method(self) -> int:
        return int.from_bytes(self.frame()[:4])

    def closed_with(self) -> tuple[int, str]:
        """Code and text of the connection.close that comes next; answers it, and sees the socket's end."""
        payload = self.frame()
        assert int.from_bytes(payload[:4]) == m.ConnectionClose.KEY
        close = m.ConnectionClose.decode(payload)
        self.send(method_frame(0, m.ConnectionCloseOk().encode()))
        with pytest.raises(EOFError):
            self.read(1)
        return close.reply_code, close.reply_text

    def vanish(self) -> None:
        """A reset instead of an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@pytest.fixture
def undisturbed(cluster: LocalCluster) -> Iterator[LocalCluster]:
    """Another client of the same node publishes and consumes before, and goes on after."""
    declare(cluster, "undisturbed")
    connection = cluster.connect(0)
    consumer = consume(connection, "undisturbed", prefetch_count=10)
    publish(connection, "undisturbed", range(5))
    assert drain(consumer, 5) == [(n, False) for n in range(5)]
    yield cluster
    publish(connection, "undisturbed", range(5, 10))
    assert drain(consumer, 5) == [(n, False) for n in range(5, 10)]
    consumer.channel.queue_delete("undisturbed")
    connection.close()
    faults = [line for line in cluster.log(0).splitlines() if "Traceback" in line or "level=error" in line]
    assert not faults


def raw(cluster: LocalCluster) -> RawClient:
    client = RawClient(cluster.port(0))
    client.log_in()
    return client


def test_a_client_of_another_protocol_is_told_which_one_is_spoken_here(undisturbed: LocalCluster) -> None:
    client = RawClient(undisturbed.port(0))
    client.send(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n")
    assert client.read(8) == b"AMQP\x00\x00\x09\x01"
    with pytest.raises(EOFError):
        client.read(1)


def test_a_client_that_ends_in_the_middle_of_a_frame_is_let_go(undisturbed: LocalCluster) -> None:
    client = raw(undisturbed)
    client.send(struct.pack(">BHI", 1, 1, 400) + b"only a part")
    client.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        client.read(1)


def test_a_frame_over_the_negotiated_size_closes_with_501(undisturbed: LocalCluster) -> None:
    client = raw(undisturbed)
    client.send(struct.pack(">BHI", 3, 1, 200_000) + bytes(200_000) + bytes([FRAME_END]))
    assert client.closed_with() == (
        501,
        "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,200000,131064}",
    )


def test_a_frame_with_a_wrong_end_closes_with_501(undisturbed: LocalCluster) -> None:
    client = raw(undisturbed)
    frame = method_frame(1, m.ChannelClose(200, "bye", 0, 0).encode())
    assert frame[-1] == FRAME_END
    client.send(frame[:-1] + b"\x00")
    code, text = client.closed_with()
    assert code == 501
    assert text.endswith("{invalid_frame_end_marker,0}")


@pytest.mark.parametrize("key", [(60, 999), (999, 10)])
def test_an_unknown_method_closes_with_503_or_540(undisturbed: LocalCluster, key: tuple[int, int]) -> None:
    client = raw(undisturbed)
    client.send(method_frame(1, struct.pack(">HH", *key)))
    code, _ = client.closed_with()
    assert code in (503, 540)


def test_what_a_vanished_peer_held_goes_to_the_next(undisturbed: LocalCluster) -> None:
    declare(undisturbed, "abandoned")
    publish(undisturbed.connect(1), "abandoned", range(3))
    client = raw(undisturbed)
    client.send(method_frame(1, m.BasicConsume("abandoned", "t", False, False, False, False, {}).encode()))
    assert client.method() == m.BasicConsumeOk.KEY
    for _ in range(3):
        assert client.method() == m.BasicDeliver.KEY
        client.frame()
        client.frame()
    client.vanish()
    heir = consume(undisturbed.connect(2), "abandoned", prefetch_count=10)
    assert drain(heir, 3) == [(n, True) for n in range(3)]
    heir.channel.queue_delete("abandoned")


def test_a_vanished_peer_in_the_middle_of_a_publish_leaves_nothing(undisturbed: LocalCluster) -> None:
    client = raw(undisturbed)
    publishing = method_frame(1, m.BasicPublish("", "undisturbed", False, False).encode())
    header = struct.pack(">HHQH", 60, 0, 100, 0)
    client.send(publishing + struct.pack(">BHI", 2, 1, len(header)) + header + bytes([FRAME_END]))
    client.send(struct.pack(">BHI", 3, 1, 100) + b"half of the body")
    client.vanish()


# ---- other nodes, and starts that cannot work


def start(directory: Path, config: str) -> subprocess.Popen[bytes]:
    """A node whose stderr goes to the file `told` in the directory."""
    path = directory / "clusterd.toml"
    path.write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "cluster.node.main", "--config", str(path)]
    with (directory / "told").open("wb") as told:
        return subprocess.Popen(command, stderr=told)


def told_by(directory: Path) -> str:
    return (directory / "told").read_text(encoding="utf-8")


def last_words(directory: Path, config: str) -> tuple[int, list[str]]:
    """Exit code and stderr of a node that cannot start."""
    process = start(directory, config)
    try:
        process.wait(timeout=15)
    finally:
        process.kill()
        process.wait()
    return process.returncode, told_by(directory).splitlines()


def config_of(cluster: LocalCluster, index: int) -> str:
    return cluster.nodes[index].config_path.read_text(encoding="utf-8")


def replaced(config: str, **values: object) -> str:
    """The same configuration with other values: `section__key="..."` by the key's first place in the section."""
    lines, section = [], ""
    for line in config.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        key = line.partition(" = ")[0]
        name = f"{section}__{key}"
        lines.append(f"{key} = {values[name]}" if name in values else line)
    return "\n".join(lines) + "\n"


def test_a_node_with_another_secret_is_named_in_one_line(undisturbed: LocalCluster, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not the secret of this cluster\n")
    secret.chmod(0o600)
    first, second, third = free_ports()
    config = replaced(
        config_of(undisturbed, 2),
        node__data_dir=f'"{tmp_path / "data"}"',
        cluster__secret_file=f'"{secret}"',
        amqp__port=first,
        http__port=second,
        peer__port=third,
    )
    before = undisturbed.log(0).count("cluster secret mismatch with")
    stranger = start(tmp_path, config)
    try:
        wait_until(
            lambda: undisturbed.log(0).count("cluster secret mismatch with") > before, "the line about the secret"
        )
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    lines = [line for line in undisturbed.log(0).splitlines() if "cluster secret mismatch with" in line]
    assert len(lines) == before + 1
    assert "cluster secret mismatch with node-2" in lines[-1]


def free_ports() -> tuple[int, int, int]:
    """Of one node: for clients, for HTTP, for its peers."""
    first = free_first_port(1)
    return first, first + HTTP_OFFSET, first + PEER_OFFSET


def test_the_data_of_another_node_is_refused_in_one_line(cluster: LocalCluster, tmp_path: Path) -> None:
    # The store of a running node is copied as a whole; what is read from it is who it belongs to.
    shutil.copytree(cluster.nodes[1].directory / "data", tmp_path / "data")
    first, second, third = free_ports()
    config = replaced(
        config_of(cluster, 2),
        node__data_dir=f'"{tmp_path / "data"}"',
        amqp__port=first,
        http__port=second,
        peer__port=third,
    )
    code, lines = last_words(tmp_path, config)
    assert (code, lines) == (1, ["clusterd: node-2: the data belongs to node 'node-1', not to 'node-2'"])


def test_the_data_of_another_cluster_links_to_nobody_and_says_so(cluster: LocalCluster, tmp_path: Path) -> None:
    members = tuple([PeerSpec(node.name, HOST, node.peer_port) for node in cluster.nodes])
    foreign = Charter("0123456789abcdef", members, 8)
    store = LmdbStore(tmp_path / "data" / "store")
    establish(store, foreign, NodeId(1))
    store.write_identity(identity_of(foreign, "node-0"))
    store.close()
    first, second, third = free_ports()
    config = replaced(
        config_of(cluster, 0),
        node__data_dir=f'"{tmp_path / "data"}"',
        amqp__port=first,
        http__port=second,
        peer__port=third,
    )
    stranger = start(tmp_path, config)
    try:
        wait_until(lambda: "cluster id mismatch" in cluster.log(1), "the line about the cluster")
        wait_until(lambda: "cluster id mismatch" in told_by(tmp_path), "the stranger's own line about it")
        with pytest.raises(ConnectionRefusedError):
            RawClient(first)
    finally:
        stranger.kill()
        stranger.wait()
    assert len([line for line in cluster.log(1).splitlines() if "cluster id mismatch" in line]) == 1
    assert "Traceback" not in told_by(tmp_path)


def test_a_port_in_use_is_one_line_and_names_it(cluster: LocalCluster, tmp_path: Path) -> None:
    config = replaced(config_of(cluster, 0), node__data_dir=f'"{tmp_path / "data"}"')
    code, lines = last_words(tmp_path, config)
    port = cluster.nodes[0].peer_port
    assert (code, lines) == (1, [f"clusterd: node-0: cannot listen on {HOST}:{port}: Address already in use"])


def test_an_unknown_key_is_one_line_and_code_2(cluster: LocalCluster, tmp_path: Path) -> None:
    code, lines = last_words(tmp_path, config_of(cluster, 0) + "\n[amqp2]\nfarbe = 1\n")
    assert code == 2
    assert len(lines) == 1
    assert "amqp2" in lines[0]
