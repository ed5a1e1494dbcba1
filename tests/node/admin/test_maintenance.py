"""Draining and reviving over HTTP."""

from __future__ import annotations

from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeSource


async def test_a_node_is_drained_and_revived_and_says_how_far_it_is() -> None:
    source = FakeSource()
    async with served(source) as client:
        assert await client.get("maintenance") == {"node": "mq-0", "phase": "running"}
        drained = await client.post("maintenance/drain", {})
        assert (drained.status, drained.json()) == (200, {"node": "mq-0", "phase": "drained"})
        revived = await client.post("maintenance/revive", {})
        assert (revived.status, revived.json()) == (200, {"node": "mq-0", "phase": "running"})


async def test_a_node_that_starts_cannot_be_drained_and_a_taken_port_keeps_it_drained() -> None:
    source = FakeSource()
    source.service.phase = "starting"
    async with served(source) as client:
        early = await client.post("maintenance/drain", {})
        assert (early.status, early.json()["detail"]) == (409, "the node is not in service yet")
        source.service.phase, source.service.taken_port = "drained", "cannot listen on 0.0.0.0:5672: Address in use"
        taken = await client.post("maintenance/revive", {})
        assert (taken.status, taken.json()["detail"]) == (409, "cannot listen on 0.0.0.0:5672: Address in use")
        assert source.service.phase == "drained"


async def test_who_only_monitors_may_look() -> None:
    async with served(FakeSource()) as client:
        assert (await client.get("maintenance", "watch:w:w"))["phase"] == "running"
        assert (await client.post("maintenance/drain", {}, "watch:w:w")).status == 403
