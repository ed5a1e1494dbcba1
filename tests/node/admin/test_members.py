"""The members of the cluster over HTTP, and what a node without a cluster answers."""

from __future__ import annotations

from cluster.node.admin.foyer import WAITING, Foyer
from cluster.node.admin.health import not_ready_reason, state
from cluster.node.config import NodeConfig
from cluster.node.config.model import NodeSection
from tests.node.admin.client import served
from tests.node.admin.fake_source import NODES, FakeSource


async def test_members_are_listed_with_what_they_hold() -> None:
    source = FakeSource()
    async with served(source) as client:
        rows = await client.get("cluster/nodes", "watch:w:w")
    assert [row["name"] for row in rows] == list(NODES)
    assert {row["membership"] for row in rows} == {"active"}
    assert [(row["groups"], row["leads"]) for row in rows] == [(2, 2), (2, 0), (2, 0)]


async def test_a_member_is_let_go_by_an_administrator_and_a_refusal_is_a_409() -> None:
    source = FakeSource()
    async with served(source) as client:
        answer = await client.delete("cluster/nodes/mq-2")
        assert (answer.status, answer.json()) == (202, {"name": "mq-2", "membership": "draining"})
        unknown = await client.delete("cluster/nodes/mq-9")
        assert (unknown.status, unknown.reason) == (409, "there is no member mq-9")
        assert (await client.delete("cluster/nodes/mq-2", "watch:w:w")).status == 403
    assert source.removed == ["mq-2"]


async def test_a_node_without_a_cluster_is_alive_and_not_ready_and_lets_nobody_in() -> None:
    foyer = Foyer(NodeConfig(node=NodeSection(name="mq-0", data_dir="/data")), "1")
    source = foyer.source()
    async with served(source) as client:  # type: ignore[arg-type]
        assert (await client.ask("/livez")).status == 200
        ready = await client.ask("/readyz")
        assert (ready.status, ready.body) == (503, f"{WAITING}\n".encode())
        # It knows no users: neither does it let anybody in, nor does it say that the password is wrong.
        unknown = await client.ask("/api/cluster/nodes", user="guest:guest")
        assert (unknown.status, unknown.reason) == (503, WAITING)
        # The rest of its life it is what it has become.
        foyer.enter(FakeSource())
        assert len(await client.get("cluster/nodes")) == 3
    assert not_ready_reason(source.local_report()) is None
    assert state(source.local_report()) == "ready"
