"""RabbitMQ's management paths over a catalog of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from cluster.broker.catalog.commands import DeclareQueue, DeleteQueue
from cluster.node.admin.report import QueueFlow
from tests.node.admin.client import served
from tests.node.admin.fake_source import FakeSource


async def test_an_encoded_slash_is_part_of_a_name_and_not_of_the_path() -> None:
    async with served(FakeSource()) as client:
        assert (await client.put("vhosts/a%2Fb", {"description": "d"})).status == 201
        assert (await client.put("exchanges/a%2Fb/x%2Fy", {"type": "topic"})).status == 201
        assert (await client.get("exchanges/a%2Fb/x%2Fy"))["name"] == "x/y"
        assert (await client.get("vhosts/a%2Fb"))["description"] == "d"


async def test_a_put_is_201_for_what_is_new_and_204_for_what_was_there() -> None:
    async with served(FakeSource()) as client:
        for path, document in (
            ("vhosts/v", {}),
            ("users/u", {"password": "p", "tags": ""}),
            ("permissions/%2F/u", {"configure": ".*", "write": ".*", "read": ".*"}),
            ("topic-permissions/%2F/u", {"exchange": "amq.topic", "write": ".*", "read": ".*"}),
            ("policies/%2F/p", {"pattern": ".*", "definition": {"max-length": 1}}),
            ("operator-policies/%2F/p", {"pattern": ".*", "definition": {"max-length": 1}}),
            ("exchanges/%2F/e", {"type": "fanout"}),
            ("queues/%2F/q", {}),
        ):
            assert [(await client.put(path, document)).status for _ in range(2)] == [201, 204], path


async def test_what_was_put_is_deleted_once_and_then_missing() -> None:
    async with served(FakeSource()) as client:
        await client.put("vhosts/v", {})
        await client.put("users/u", {"password": "p", "tags": "management"})
        await client.put("permissions/%2F/u", {"configure": "", "write": "", "read": ""})
        await client.put("policies/%2F/p", {"pattern": ".*", "definition": {"max-length": 1}})
        await client.put("exchanges/%2F/e", {"type": "fanout"})
        paths = ("vhosts/v", "permissions/%2F/u", "users/u", "policies/%2F/p", "exchanges/%2F/e", "queues/%2F/orders")
        for path in paths:
            assert [(await client.delete(path)).status for _ in range(2)] == [204, 404], path


@pytest.mark.parametrize(
    ("path", "document", "reason"),
    [
        ("users/u", {"password": "p"}, "'tags' is missing: a list of strings, or a string with commas; \"\" for none"),
        (
            "users/u",
            {"tags": "", "password_hash": "AAAA"},
            "password_hash is not the base64 of 36 octets (4 of salt and a rabbit_password_hashing_sha256 digest)",
        ),
        ("permissions/%2F/guest", {"configure": "("}, "'write' is missing"),
        (
            "permissions/%2F/guest",
            {"configure": "(", "write": "", "read": ""},
            "invalid regular expression '('",
        ),
        (
            "policies/%2F/p",
            {"pattern": ".*", "definition": {"max-length": "1"}},
            "'max-length' of policy 'p' must be a whole number >= 0",
        ),
        (
            "policies/%2F/p",
            {"pattern": ".*", "definition": {"expires": 0}},
            "'expires' of policy 'p' must be a whole number > 0",
        ),
        (
            "operator-policies/%2F/p",
            {"pattern": ".*", "definition": {"consumer-timeout": 0}},
            "'consumer-timeout' of policy 'p' must be a whole number > 0",
        ),
        ("policies/%2F/p", {"pattern": ".*"}, "'definition' is missing"),
        ("queues/%2F/q", {"durable": "maybe"}, "'durable' must be true or false, got \"maybe\""),
        (
            "queues/%2F/orders",
            {"durable": False},
            "inequivalent arg 'durable' for queue 'orders' in vhost '/': received 'false' but current is 'true'",
        ),
        ("exchanges/%2F/e", {"type": "bogus"}, "unknown exchange type 'bogus'"),
        ("exchanges/%2F/e", [1], "the body is not a JSON object"),
        ("queues/%2F/" + "q" * 256, {}, "a queue's name is longer than 255 octets"),
        ("exchanges/%2F/" + "%C3%A9" * 128, {"type": "fanout"}, "an exchange's name is longer than 255 octets"),
        ("vhosts/v", {"default_queue_type": "lazy"}, "'default_queue_type' must be classic or quorum, got 'lazy'"),
        ("vhosts/v", {"default_queue_type": ["quorum"]}, "'default_queue_type' must be a string, got [\"quorum\"]"),
        ("vhosts/" + "v" * 256, {}, "a vhost's name is longer than 255 octets"),
        ("vhost-limits/%2F/max-ducks", {"value": 1}, "limit 'max-ducks' is not one of max-connections, max-queues"),
    ],
)
async def test_a_bad_request_is_400_with_one_precise_line(path: str, document: object, reason: str) -> None:
    async with served(FakeSource()) as client:
        answer = await client.put(path, document)
    assert (answer.status, answer.reason, answer.json()["error"]) == (400, reason, "bad_request")


async def test_what_is_missing_is_named_by_a_404() -> None:
    async with served(FakeSource()) as client:
        for path, reason in (
            ("vhosts/nope", "no vhost 'nope'"),
            ("queues/%2F/nope", "no queue 'nope' in vhost '/'"),
            ("exchanges/nope/e", "no vhost 'nope'"),
            ("users/nope", "no user 'nope'"),
            ("permissions/%2F/nope", "no user 'nope'"),
            ("policies/%2F/nope", "no policy 'nope' in vhost '/'"),
            ("operator-policies/%2F/nope", "no operator policy 'nope' in vhost '/'"),
            ("connections/nope", "no connection 'nope'"),
            ("nodes/nope", "no node 'nope'"),
        ):
            answer = await client.ask(f"/api/{path}", user="guest:guest")
            assert (answer.status, answer.reason) == (404, reason), path


async def test_a_queue_shows_its_counts_its_replicas_and_its_policy() -> None:
    async with served(FakeSource()) as client:
        await client.put("policies/%2F/short", {"pattern": "^o", "definition": {"max-length": 5}})
        queue = await client.get("queues/%2F/orders")
        alone = {"consumer_details", "deliveries", "incoming"}
        assert (await client.get("queues"))[0] == {k: v for k, v in queue.items() if k not in alone}
    assert queue["consumer_details"][0]["consumer_tag"] == "ctag1"
    expected = {
        "name": "orders",
        "vhost": "/",
        "durable": True,
        "auto_delete": False,
        "arguments": {},
        "messages": 10,
        "messages_ready": 9,
        "messages_unacknowledged": 1,
        "consumers": 2,
        "state": "running",
        "node": "mq-0",
        "leader": "mq-0",
        "members": ["mq-0", "mq-1", "mq-2"],
        "policy": "short",
        "effective_policy_definition": {"max-length": 5},
    }
    assert queue | expected == queue


async def test_what_changes_a_vhost_is_judged_by_a_copy_of_the_catalog_that_is_up_to_date() -> None:
    source = FakeSource()
    (first,) = source.catalog.queues.values()
    again = (DeleteQueue("/", "orders", first.id), DeclareQueue("/", "orders", True, False, False))
    source.operations.missed += again
    async with served(source) as client:
        assert (await client.delete("queues/%2F/orders/contents")).status == 204
        source.operations.missed.append(DeclareQueue("/", "later", True, False, False))
        assert (await client.post("bindings/%2F/e/amq.direct/q/later", {"routing_key": "k"})).status == 201
    assert [queue.id for queue in source.operations.purged] not in ([], [first.id])


async def test_a_queue_is_purged_and_deleted() -> None:
    source = FakeSource()
    async with served(source) as client:
        assert (await client.delete("queues/%2F/orders/contents")).status == 204
        assert [queue.name for queue in source.operations.purged] == ["orders"]
        assert (await client.delete("queues/%2F/orders?if-unused=false")).status == 204
        assert await client.names("queues") == []


async def test_a_long_list_is_cut_into_pages_filtered_and_narrowed() -> None:
    source = FakeSource()
    for number in range(12):
        source.operations.founded.ok(DeclareQueue("/", f"q{number:02}", True, False, False))
    async with served(source) as client:
        page = await client.get("queues?page=2&page_size=5&columns=name")
        assert page["items"] == [{"name": f"q{n:02}"} for n in range(4, 9)]
        counts = ("page", "page_count", "page_size", "item_count", "filtered_count", "total_count")
        assert [page[key] for key in counts] == [2, 3, 5, 5, 13, 13]
        found = await client.get("queues?page=1&name=q1%5B01%5D&use_regex=true&sort=name&sort_reverse=true")
        assert [item["name"] for item in found["items"]] == ["q11", "q10"]
        beyond = await client.ask("/api/queues?page=9", user="guest:guest")
        assert (beyond.status, beyond.reason) == (400, "Page out of range, page: 9 page size: 100, len: 13")


async def test_a_regular_expression_that_takes_for_ever_is_given_up_and_does_not_stop_the_node() -> None:
    source = FakeSource()
    source.operations.founded.ok(DeclareQueue("/", "a" * 60 + "!", True, False, False))
    async with served(source) as client:
        with trio.fail_after(9):
            answer = await client.ask("/api/queues?page=1&use_regex=true&name=(a%7Caa)%2B$", user="guest:guest")
    assert (answer.status, answer.reason) == (400, "name: the regular expression takes too long")


async def test_where_nothing_has_the_name_there_are_no_pages() -> None:
    async with served(FakeSource()) as client:
        found = await client.get("queues?page=1&name=nothing")
    assert (found["items"], found["page_count"], found["filtered_count"], found["total_count"]) == ([], 0, 0, 1)


async def test_sessions_of_one_vhost_or_connection_are_given_whole_whatever_page_is_asked_for() -> None:
    connection = "10.0.0.5%3A40312%20-%3E%2010.0.0.7%3A5672"
    async with served(FakeSource()) as client:
        for path in ("vhosts/%2F/connections", "vhosts/%2F/channels", f"connections/{connection}/channels"):
            assert await client.get(f"{path}?page=1&page_size=1") == await client.get(path) != [], path
        for path in ("connections", "channels", "connections/username/guest"):
            assert (await client.get(f"{path}?page=1&page_size=1"))["page_count"] == 1, path


async def test_a_connection_is_closed_with_the_reason_of_the_header() -> None:
    source = FakeSource()
    async with served(source) as client:
        connection = (await client.get("connections"))[0]
        assert (connection["protocol"], connection["state"]) == ("AMQP 0-9-1", "running")
        path = "connections/10.0.0.5%3A40312%20-%3E%2010.0.0.7%3A5672"
        assert (await client.delete(path, headers={"X-Reason": "node moves"})).status == 204
        await client.delete(path)
        assert (await client.delete(path, "team:t")).status == 404
        assert [c["prefetch_count"] for c in await client.get(f"{path}/channels")] == [10]
        assert [c["queue"]["name"] for c in await client.get("consumers/%2F")] == ["orders"]
    name = connection["name"]
    assert source.operations.closed == [(name, "node moves"), (name, "Closed via management API")]


async def test_limits_are_set_listed_and_cleared() -> None:
    async with served(FakeSource()) as client:
        assert (await client.put("vhost-limits/%2F/max-queues", {"value": 5})).status == 204
        assert (await client.put("user-limits/guest/max-channels", {"value": 2})).status == 204
        assert await client.get("vhost-limits") == [{"vhost": "/", "value": {"max-queues": 5}}]
        assert await client.get("user-limits/guest") == [{"user": "guest", "value": {"max-channels": 2}}]
        await client.delete("vhost-limits/%2F/max-queues")
        await client.put("user-limits/guest/max-channels", {"value": -1})
        assert await client.get("vhost-limits") == await client.get("user-limits") == []


async def test_the_overview_sums_up_the_nodes() -> None:
    async with served(FakeSource()) as client:
        overview = await client.get("overview", "team:t")
        assert await client.get("whoami", "watch:w:w") == {"name": "watch", "tags": ["monitoring"]}
        nodes = await client.get("nodes")
    totals = {key: value for key, value in overview["queue_totals"].items() if not key.endswith("_details")}
    assert totals == {"messages": 33, "messages_ready": 30, "messages_unacknowledged": 3}
    assert overview["object_totals"]["connections"] == 123
    assert (overview["node"], overview["cluster_name"]) == ("mq-1", "orders-mq")
    assert [(node["name"], node["running"]) for node in nodes] == [("mq-0", True), ("mq-1", True), ("mq-2", True)]


async def test_without_a_quorum_what_changes_the_catalog_is_503_and_looking_goes_on() -> None:
    source = FakeSource()
    source.operations.has_quorum = False
    async with served(source) as client:
        for answer in (
            await client.put("vhosts/v", {}),
            await client.put("queues/%2F/q", {}),
            await client.delete("queues/%2F/orders"),
            await client.post("definitions", {"vhosts": [{"name": "v"}, {"name": "w"}]}),
        ):
            assert (answer.status, answer.reason) == (503, "the catalog has no leader with a quorum")
        assert await client.names("queues") == ["orders"]


async def test_an_empty_list_stands_for_an_empty_object_of_arguments() -> None:
    async with served(FakeSource()) as client:
        assert (await client.put("exchanges/%2F/e", {"type": "topic", "arguments": []})).status == 201


async def test_a_slash_at_the_end_of_a_path_means_nothing() -> None:
    async with served(FakeSource()) as client:
        assert (await client.get("queues/%2F/orders/"))["name"] == "orders"
        assert (await client.ask("/livez/")).status == 200


async def test_vhosts_say_what_lies_in_them() -> None:
    async with served(FakeSource()) as client:
        assert [(v["name"], v["messages"], v["messages_ready"]) for v in await client.get("vhosts")] == [("/", 10, 9)]
        assert (await client.get("vhosts/%2F"))["messages_unacknowledged_details"] == {"rate": 0.0}


@pytest.mark.parametrize("left_out", [{}, {"default_queue_type": None}, {"default_queue_type": ""}])
async def test_a_vhost_keeps_the_queue_type_that_a_put_leaves_out(left_out: dict[str, str | None]) -> None:
    async with served(FakeSource()) as client:
        assert (await client.put("vhosts/v", {"default_queue_type": "quorum"})).status == 201
        assert (await client.put("vhosts/v", {"description": "d", "tags": None, **left_out})).status == 204
        vhost = await client.get("vhosts/v")
    assert (vhost["default_queue_type"], vhost["description"]) == ("quorum", "d")


async def test_the_memory_of_a_node_is_the_memory_of_its_process() -> None:
    source = FakeSource()
    async with served(source) as client:
        memory = (await client.get("nodes/mq-0/memory"))["memory"]
        assert memory["total"] == {"rss": source.reports[0].rss_bytes}
        assert (await client.ask("/api/nodes/mq-9/memory", user="guest:guest")).status == 404


async def test_numbers_and_booleans_may_come_as_text_as_rabbitmqadmin_sends_them() -> None:
    source = FakeSource()
    async with served(source) as client:
        policy = {"pattern": ".*", "definition": {"max-length": 1}, "priority": "-7"}
        assert (await client.put("policies/%2F/p", policy)).status == 201
        assert (await client.get("policies/%2F/p"))["priority"] == -7
        await client.put("exchanges/%2F/e", {"type": "fanout", "durable": "false"})
        assert (await client.get("exchanges/%2F/e"))["durable"] is False
        wrong = await client.put("policies/%2F/p", {**policy, "priority": "7x"})
    assert wrong.reason == "'priority' must be a whole number, got \"7x\""


async def test_a_queue_says_what_went_through_it_and_how_fast() -> None:
    source = FakeSource()
    orders = source.catalog.queue("/", "orders")
    assert orders is not None
    async with served(source) as client:
        await client.get("queues/%2F/orders")
        source.operations.enqueued += 50
        taken = QueueFlow(orders.id, (0, 0, 0, 0, 30, 5, 4, 3, 2, 1, 20))
        source.queues_flowed = [taken, replace(taken, queue=orders.id + 1), taken]
        queue = await client.get("queues/%2F/orders")
    assert queue["message_stats"]["publish"] == 150
    assert queue["message_stats"]["publish_details"]["rate"] > 0
    words = ("deliver_get", "deliver", "deliver_no_ack", "get", "get_no_ack", "get_empty", "redeliver", "ack")
    assert [queue["message_stats"][word] for word in words] == [84, 60, 10, 8, 6, 4, 2, 40]
    assert queue["messages_details"] == {"rate": 0.0}


async def test_global_parameters_are_kept_as_they_were_given() -> None:
    async with served(FakeSource()) as client:
        assert (await client.put("global-parameters/limits", {"value": {"a": [1, None]}})).status == 201
        assert (await client.put("global-parameters/limits", {"value": {"a": [2]}})).status == 204
        assert await client.get("global-parameters/limits") == {"name": "limits", "value": {"a": [2]}}
        every = await client.get("global-parameters")
        assert every[0] == {"name": "limits", "value": {"a": [2]}}
        assert await client.get("global-parameters/internal_cluster_id") == every[1]
        assert (await client.get("definitions"))["global_parameters"] == [{"name": "limits", "value": {"a": [2]}}]
        assert (await client.put("global-parameters/x", {})).reason == "'value' is missing"
        assert (await client.delete("global-parameters/limits")).status == 204
        assert (await client.delete("global-parameters/limits")).status == 404


async def test_a_parameter_of_a_plugin_that_is_not_there_is_refused_with_rabbitmqs_words() -> None:
    async with served(FakeSource()) as client:
        answer = await client.put("parameters/federation-upstream/%2F/x", {"value": {"uri": "amqp://"}})
        assert (answer.status, answer.reason) == (
            400,
            "Validation failed\n\ncomponent federation-upstream not found\n",
        )
        assert await client.get("parameters") == []
        await client.put("vhost-limits/%2F/max-queues", {"value": 7})
        assert [p["component"] for p in await client.get("parameters/vhost-limits/%2F")] == ["vhost-limits"]


async def test_all_connections_of_a_user_are_closed_together() -> None:
    source = FakeSource()
    async with served(source) as client:
        name = (await client.get("connections/username/guest"))[0]["name"]
        assert await client.get("connections/username/nobody") == []
        assert (await client.delete("connections/username/guest")).status == 204
    assert (name, "Closed via management API") in source.operations.closed


async def test_the_cluster_has_the_name_that_was_given_last() -> None:
    async with served(FakeSource()) as client:
        assert (await client.put("cluster-name", {"name": "orders"})).status == 204
        assert await client.get("cluster-name") == {"name": "orders"}
        assert (await client.get("global-parameters"))[0] == {"name": "cluster_name", "value": "orders"}
        assert (await client.put("cluster-name", {})).reason == "'name' is missing"
        assert (await client.put("cluster-name", {"name": "x"}, user="watch:w:w")).status == 403


async def test_what_clients_read_into_integers_and_texts_is_of_that_kind() -> None:
    """Measured: typed clients fail at a fraction, or at a number where a text was."""
    async with served(FakeSource()) as client:
        connection = (await client.get("connections"))[0]
        assert connection["connected_at"] == 1_790_000_000_000
        assert isinstance(connection["connected_at"], int)
        assert connection["ssl_protocol"] is None
        assert isinstance((await client.get("overview"))["contexts"][0]["port"], str)
        consumer = (await client.get("consumers"))[0]["channel_details"]
        assert (consumer["peer_host"], consumer["peer_port"]) == ("10.0.0.5", 40312)
