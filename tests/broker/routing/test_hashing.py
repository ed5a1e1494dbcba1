"""Exchanges that pick one of their bindings."""

from __future__ import annotations

from collections import Counter

from cluster.amqp.field_table import Int64
from cluster.broker.routing.table import RoutingTable

KEYS = [f"order-{number}" for number in range(4000)]


def _table(kind: str, **arguments: str) -> RoutingTable:
    table = RoutingTable(lambda name: None)
    table.add_exchange("x", kind, None, {name.replace("_", "-"): value for name, value in arguments.items()})
    return table


def _route(table: RoutingTable) -> dict[str, int]:
    routed = {key: table.route("x", [key], dict).queues for key in KEYS}
    assert all(len(queues) == 1 for queues in routed.values())
    return {key: queues[0] for key, queues in routed.items()}


def test_a_key_always_goes_to_the_same_queue_whatever_the_order_of_the_bindings() -> None:
    one, other = _table("x-consistent-hash"), _table("x-consistent-hash")
    for queue in (1, 2, 3):
        one.bind_queue("x", queue, "1", {})
    for queue in (3, 1, 2):
        other.bind_queue("x", queue, "1", {})
    assert _route(one) == _route(other)


def test_keys_spread_by_weight() -> None:
    table = _table("x-consistent-hash")
    table.bind_queue("x", 1, "1", {})
    table.bind_queue("x", 2, "3", {})
    counts = Counter(_route(table).values())
    assert 0.15 < counts[1] / len(KEYS) < 0.35


def test_a_queue_that_goes_moves_only_its_own_keys() -> None:
    table = _table("x-consistent-hash")
    for queue in (1, 2, 3):
        table.bind_queue("x", queue, "2", {})
    before = _route(table)
    table.unbind_queue("x", 3, "2", {})
    after = _route(table)
    assert all(after[key] == queue for key, queue in before.items() if queue != 3)


def test_an_exchange_can_be_a_destination_too() -> None:
    table = _table("x-consistent-hash")
    table.add_exchange("behind", "fanout", None)
    table.bind_exchange("x", "behind", "1", {})
    table.bind_queue("behind", 7, "", {})
    assert set(_route(table).values()) == {7}


def test_random_picks_one_and_in_time_every_binding_and_is_not_to_be_remembered() -> None:
    table = _table("x-random")
    for queue in (1, 2, 3):
        table.bind_queue("x", queue, "", {})
    assert set(_route(table).values()) == {1, 2, 3}
    assert table.route("x", ["k"], dict).by_headers


def test_nothing_bound_is_nowhere() -> None:
    for kind in ("x-consistent-hash", "x-random"):
        assert _table(kind).route("x", ["k"], dict).queues == ()


def test_an_exchange_may_hash_a_header_instead_of_the_key() -> None:
    table = _table("x-consistent-hash", hash_header="customer")
    for queue in range(1, 5):
        table.bind_queue("x", queue, "1", {})
    routed = [table.route("x", [key], lambda: {"customer": "c"}) for key in KEYS[:20]]
    assert len(set(routed)) == 1
    assert routed[0].by_headers
    assert table.route("x", ["k"], lambda: {"customer": 5}) == table.route("x", ["l"], lambda: {"customer": Int64(5)})
    spread = Counter(table.route("x", ["k"], lambda key=key: {"customer": key}).queues for key in KEYS)  # type: ignore[misc]
    assert len(spread) == 4
    assert len(table.route("x", ["k"], dict).queues) == 1, "a message without the header goes somewhere too"


def test_an_exchange_may_hash_a_property_instead_of_the_key() -> None:
    table = _table("x-consistent-hash", hash_property="message_id")
    for queue in range(1, 5):
        table.bind_queue("x", queue, "1", {})
    asked = []

    def properties(name: str) -> str:
        asked.append(name)
        return "m"

    assert len({table.route("x", [key], dict, properties) for key in KEYS[:20]}) == 1
    assert set(asked) == {"message_id"}
    spread = Counter(table.route("x", ["k"], dict, lambda name, key=key: key).queues for key in KEYS)  # type: ignore[misc]
    assert len(spread) == 4
