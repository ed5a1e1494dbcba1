"""Policies over HTTP, and what queues and exchanges show of them."""

from __future__ import annotations

from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeSource


async def test_an_empty_pattern_of_a_policy_means_every_queue_and_is_shown_as_it_was_given() -> None:
    async with served(FakeSource()) as client:
        given = {"pattern": "", "definition": {"max-length": 5}}
        assert [(await client.put("policies/%2F/p", given)).status for _ in range(2)] == [201, 204]
        assert (await client.get("queues/%2F/orders"))["policy"] == "p"
        assert (await client.get("policies/%2F/p"))["pattern"] == ""
        assert (await client.get("definitions"))["policies"][0]["pattern"] == ""


async def test_of_a_number_that_both_policies_of_a_queue_set_the_smaller_one_is_shown_as_it_holds() -> None:
    async with served(FakeSource()) as client:
        user = {"max-length": 5, "message-ttl": 9000, "overflow": "drop-head"}
        await client.put("policies/%2F/p", {"pattern": ".*", "definition": user})
        await client.put(
            "operator-policies/%2F/o", {"pattern": "^o", "definition": {"max-length": 10, "message-ttl": 80}}
        )
        queue = await client.get("queues/%2F/orders")
    assert (queue["policy"], queue["operator_policy"]) == ("p", "o")
    assert queue["effective_policy_definition"] == {"max-length": 5, "message-ttl": 80, "overflow": "drop-head"}


async def test_an_exchange_names_its_policy() -> None:
    async with served(FakeSource()) as client:
        policy = {"pattern": "^amq.fan", "definition": {"alternate-exchange": "amq.direct"}, "apply-to": "exchanges"}
        await client.put("policies/%2F/unrouted", policy)
        assert (await client.get("exchanges/%2F/amq.fanout"))["policy"] == "unrouted"
        named = {item["name"]: item.get("policy") for item in await client.get("exchanges/%2F")}
        assert [name for name, policy in named.items() if policy] == ["amq.fanout"]
