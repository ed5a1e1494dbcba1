"""When a cluster may be founded, and who takes a first member's place."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.node.bootstrap import (
    FOUNDING_PATIENCE_SECONDS,
    Charter,
    configured_names,
    describe,
    directory_token,
    establish,
    founded,
    read_charter,
    write_charter,
)
from cluster.node.config import NodeConfig, PeerSpec
from cluster.node.config.model import ClusterSection, NodeSection
from cluster.raft.types import NodeId
from cluster.store.memory import MemoryStore

PEERS = [f"mq-{n}=host-{n}:25672" for n in range(3)]


def config(name: str, peers: list[str] | None = None) -> NodeConfig:
    cluster = ClusterSection(peers=PEERS if peers is None else peers, secret="s")
    return NodeConfig(node=NodeSection(name=name, data_dir="/data"), cluster=cluster)


def empty(token: str, *names: str) -> dict[str, Any]:
    return describe(None, token, names or ["mq-0", "mq-1", "mq-2"])


def test_a_cluster_is_founded_at_once_when_everybody_is_empty() -> None:
    charter = founded(config("mq-0"), "a", {"mq-1": empty("b"), "mq-2": empty("c")}, 0.0)
    assert charter is not None
    assert [member.name for member in charter.members] == ["mq-0", "mq-1", "mq-2"]
    assert charter.tokens == ("a", "b", "c")
    assert charter.admits("mq-1", "b")


def test_with_a_majority_that_is_empty_it_waits_for_the_rest_and_founds_without_them() -> None:
    answers = {"mq-1": empty("b")}
    assert founded(config("mq-0"), "a", answers, FOUNDING_PATIENCE_SECONDS - 0.1) is None
    charter = founded(config("mq-0"), "a", answers, FOUNDING_PATIENCE_SECONDS)
    assert charter is not None
    assert [member.name for member in charter.members] == ["mq-0", "mq-1"]


@pytest.mark.parametrize(
    "answers",
    [
        {},
        # Somebody who was given another list is no first member.
        {"mq-1": empty("b", "mq-0", "mq-1"), "mq-2": empty("c", "mq-0", "mq-1")},
        # Somebody belongs to a cluster.
        {"mq-1": empty("b"), "mq-2": describe(Charter("c", (), 8), "c", ["mq-0", "mq-1", "mq-2"])},
        # An older program says nothing of its directory.
        {"mq-1": {"charter": None, "worked": []}, "mq-2": {"charter": None, "worked": []}},
    ],
)
def test_without_a_majority_that_is_surely_empty_nothing_is_founded(answers: dict[str, dict[str, Any]]) -> None:
    assert founded(config("mq-0"), "a", answers, 3600.0) is None


def test_a_newcomer_that_would_be_first_in_order_founds_nothing_beside_the_others() -> None:
    newcomer = config("a-node", ["a-node=host:1", *PEERS])
    assert newcomer.is_founder
    answers = {f"mq-{n}": empty(str(n)) for n in range(3)}
    assert founded(newcomer, "t", answers, 3600.0) is None


def test_a_node_alone_founds_its_own() -> None:
    alone = config("one", [])
    assert configured_names(alone) == ["one"]
    charter = founded(alone, "t", {}, 0.0)
    assert charter is not None
    assert charter.placement()[next(iter(charter.placement()))] == (1,)


def test_a_first_members_place_is_taken_with_its_own_directory_only() -> None:
    members = (PeerSpec("mq-0", "h", 1), PeerSpec("mq-1", "h", 2))
    charter = Charter("c", members, 8, ("a", "b"))
    assert charter.admits("mq-1", "b")
    assert not charter.admits("mq-1", "another")
    assert not charter.admits("mq-1", "")
    assert not charter.admits("mq-9", "b")
    assert not Charter("c", members, 8).admits("mq-1", "b"), "an older program's charter names no directories"


def test_a_directory_keeps_its_token_and_its_charter() -> None:
    store = MemoryStore()
    token = directory_token(store)
    assert directory_token(store) == token
    assert directory_token(MemoryStore()) != token
    assert read_charter(store) is None
    charter = Charter("c", (PeerSpec("mq-0", "h", 1),), 8, (token,))
    write_charter(store, charter)
    assert read_charter(store) == charter


def test_what_an_interrupted_start_has_written_is_written_anew() -> None:
    store = MemoryStore()
    members = tuple(PeerSpec(f"mq-{n}", "h", 1) for n in range(3))
    establish(store, Charter("c", members, 8), NodeId(1))
    establish(store, Charter("d", (), 8), NodeId(4))
    assert all(not store.group(group).initial_state().snapshot.configuration.voters for group in store.groups())
