"""Programs of two versions: what works together, and what is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgpack

from cluster.broker.catalog.codec import COMMAND_VERSION
from cluster.node.bootstrap import Charter, establish, identity_of
from cluster.node.config.peers import PeerSpec
from cluster.node.dev.child import Child
from cluster.node.dev.layout import plan, write
from cluster.raft.storage import GroupWrite
from cluster.raft.types import Entry, EntryKind, GroupId, HardState, LogIndex, NodeId, Term
from cluster.store.lmdb_store import LmdbStore
from tests.cluster.clients import consume, declare, drain, publish
from tests.cluster.harness import PROGRAM, free_ports, wait_until
from tests.cluster.test_membership import Growing

OLDER = """
import sys
from cluster.node.links import handshake
handshake.VERSION_MAX = 1
from cluster.node.main import main
sys.exit(main(sys.argv[1:]))
"""


def refusal(directory: Path) -> tuple[int, str]:
    """Exit code and stderr of a node alone, started on what is in `directory`/node-0/data."""
    (node,) = plan(directory, nodes=1, amqp_port=free_ports(1))
    write(directory, [node])
    ended = subprocess.run(
        [*PROGRAM, "--config", str(node.config_path)], capture_output=True, text=True, timeout=30, check=False
    )
    return ended.returncode, [line for line in ended.stderr.splitlines() if line.startswith("clusterd:")][-1]


def store_at(directory: Path) -> LmdbStore:
    return LmdbStore(directory / "node-0" / "data" / "store")


def test_a_directory_of_a_newer_format_is_refused_in_one_line(tmp_path: Path) -> None:
    store_at(tmp_path).close()
    (tmp_path / "node-0" / "data" / "store" / "format").write_text("99\n")
    code, line = refusal(tmp_path)
    assert code == 1
    assert line.startswith("clusterd: node-0: the data has format 99, this program reads up to ")
    assert line.endswith(": run a newer one")


def test_a_catalog_that_a_newer_program_has_changed_is_refused_in_one_line(tmp_path: Path) -> None:
    charter = Charter("c", (PeerSpec("node-0", "127.0.0.1", 1),), 1)
    store = store_at(tmp_path)
    establish(store, charter, NodeId(1))
    command = msgpack.packb([COMMAND_VERSION, b"", 250, "what a later version does"])
    entry = Entry(Term(1), LogIndex(1), EntryKind.COMMAND, command)
    store.write([GroupWrite(GroupId(0), HardState(Term(1), NodeId(1), LogIndex(1)), entries=[entry])])
    store.write_identity(identity_of(charter, "node-0"))
    store.close()
    assert refusal(tmp_path) == (
        1,
        "clusterd: node-0: the catalog was changed by a newer program: not a catalog command: 250. Run that",
    )


def test_nodes_of_two_link_versions_work_together_and_take_nobody_in_until_all_speak_the_newer() -> None:
    older = 2
    with Growing() as cluster:
        cluster.terminate(older)
        cluster.children[older] = Child(cluster.nodes[older], (sys.executable, "-c", OLDER))
        cluster.wait_ready(older)
        declare(cluster, "mixed", older)
        publish(cluster.connect(older), "mixed", range(10))
        consumer = consume(cluster.connect(0), "mixed", prefetch_count=10)
        assert [number for number, _ in drain(consumer, 10)] == list(range(10))

        cluster.start(3)
        newcomer = cluster.children[3]
        assert newcomer is not None
        wait_until(lambda: newcomer.readiness() == "waiting for a member of the cluster", "it is not let in")
        wait_until(lambda: "upgrade all nodes first" in cluster.log(3), "it is told why", 60)
        cluster.terminate(older)
        cluster.start(older)
        cluster.wait_ready(older, 3)
        assert cluster.members()["node-3"]["id"] == 4
