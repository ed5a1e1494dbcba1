"""Bindings over HTTP: how they are told apart, found and deleted."""

from __future__ import annotations

from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeSource


async def test_bindings_have_a_key_by_which_they_are_found_and_deleted() -> None:
    async with served(FakeSource()) as client:
        await client.put("exchanges/%2F/e", {"type": "topic"})
        made = await client.post("bindings/%2F/e/e/q/orders", {"routing_key": "a.#", "arguments": {"n": 1}})
        assert made.status == 201
        place = made.headers["location"]
        assert place.startswith("/api/bindings/%2F/e/e/q/orders/a.%2523~")
        found = await client.get(place.removeprefix("/api/"))
        assert (found["routing_key"], found["arguments"], found["destination_type"]) == ("a.#", {"n": 1}, "queue")
        await client.post("bindings/%2F/e/e/q/orders", {})
        keys = [b["properties_key"] for b in await client.get("bindings/%2F/e/e/q/orders")]
        assert keys == ["~", found["properties_key"]]
        assert (await client.ask(place, user="guest:guest", method="DELETE")).status == 204
        assert (await client.ask(place, user="guest:guest", method="DELETE")).status == 404
        left = await client.get("queues/%2F/orders/bindings")
        assert [(b["source"], b["routing_key"]) for b in left] == [("", "orders"), ("e", "")]
        assert [b["destination"] for b in await client.get("exchanges/%2F/e/bindings/source")] == ["orders"]


async def test_keys_of_bindings_are_told_apart_and_are_rabbitmqs() -> None:
    keys = {
        "": "~",
        "~": "%7E",
        "a b": "a+b",
        "a+b": "a%2Bb",
        "k/x": "k%2Fx",
        "é.#": "%C3%A9.%23",
        "a.b-c_*": "a.b-c_%2A",
    }
    async with served(FakeSource()) as client:
        for routing_key in keys:
            await client.post("bindings/%2F/e/amq.topic/q/orders", {"routing_key": routing_key})
        found = await client.get("bindings/%2F/e/amq.topic/q/orders")
        assert {b["routing_key"]: b["properties_key"] for b in found} == keys
        for key, routing_key in (("~", ""), ("%257E", "~"), ("a+b", "a b"), ("a%20b", "a b"), ("k%2Fx", "k/x")):
            one = await client.get(f"bindings/%2F/e/amq.topic/q/orders/{key}")
            assert one["routing_key"] == routing_key, key
        assert (await client.delete("bindings/%2F/e/amq.topic/q/orders/~")).status == 204
        assert (await client.delete("bindings/%2F/e/amq.topic/q/orders/~")).status == 404


async def test_a_binding_has_a_routing_key_that_a_publish_can_have() -> None:
    async with served(FakeSource()) as client:
        answers = [
            await client.post("bindings/%2F/e/amq.topic/q/orders", {"routing_key": "k" * octets})
            for octets in (255, 256)
        ]
    assert [answer.status for answer in answers] == [201, 400]
    assert answers[1].reason == "'routing_key' is longer than 255 octets"


async def test_exchanges_are_bound_to_exchanges() -> None:
    async with served(FakeSource()) as client:
        assert (await client.post("bindings/%2F/e/amq.direct/e/amq.fanout", {"routing_key": "k"})).status == 201
        found = await client.get("exchanges/%2F/amq.fanout/bindings/destination")
        assert [(b["source"], b["destination_type"]) for b in found] == [("amq.direct", "exchange")]
        assert (await client.delete("bindings/%2F/e/amq.direct/e/amq.fanout/k")).status == 204
        refused = await client.post("bindings/%2F/e/amq.default/q/orders", {"routing_key": "k"})
        assert (refused.status, refused.reason) == (403, "operation not permitted on the default exchange")
