"""Routing through exchanges bound to exchanges, alternates, several keys."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.broker.routing.bucket import added, members, removed
from cluster.broker.routing.table import RoutingTable


def no_headers():
    return {}


def table(**exchanges):
    made = RoutingTable({"q1": 1, "q2": 2, "q3": 3}.get)
    for name, kind in exchanges.items():
        kind, _, alternate = kind.partition(" ")
        made.add_exchange(name, kind, alternate or None)
    return made


def test_the_default_exchange_leads_to_the_queue_named_by_the_key():
    routes = table()
    assert routes.route("", ["q2"], no_headers).queues == (2,)
    assert routes.route("", ["q9"], no_headers).queues == ()


def test_direct_matches_the_key_alone():
    routes = table(x="direct")
    routes.bind_queue("x", 2, "k", {})
    routes.bind_queue("x", 1, "k", {})
    routes.bind_queue("x", 3, "other", {})
    assert routes.route("x", ["k"], no_headers) == ((1, 2), False)
    routes.unbind_queue("x", 2, "k", {})
    assert routes.route("x", ["k"], no_headers).queues == (1,)
    assert routes.route("x", ["nothing"], no_headers).queues == ()


def test_fanout_matches_whatever_the_key_and_each_queue_once():
    routes = table(x="fanout")
    routes.bind_queue("x", 3, "a", {})
    routes.bind_queue("x", 1, "b", {})
    routes.bind_queue("x", 3, "c", {})
    assert routes.route("x", ["z"], no_headers).queues == (1, 3)
    routes.unbind_queue("x", 3, "a", {})
    assert routes.route("x", ["z"], no_headers).queues == (1, 3)
    routes.unbind_queue("x", 3, "c", {})
    assert routes.route("x", ["z"], no_headers).queues == (1,)


def test_several_keys_lead_to_each_queue_once():
    routes = table(x="direct")
    routes.bind_queue("x", 1, "a", {})
    routes.bind_queue("x", 1, "b", {})
    routes.bind_queue("x", 2, "c", {})
    assert routes.route("x", ["a", "b", "c"], no_headers).queues == (1, 2)


def test_a_cycle_of_exchanges_ends():
    routes = table(a="direct", b="fanout", c="topic")
    routes.bind_exchange("a", "b", "k", {})
    routes.bind_exchange("b", "c", "", {})
    routes.bind_exchange("c", "a", "#", {})
    routes.bind_exchange("a", "a", "k", {})
    routes.bind_queue("c", 1, "k", {})
    routes.bind_queue("a", 2, "k", {})
    assert routes.route("a", ["k"], no_headers).queues == (1, 2)
    assert routes.route("c", ["k"], no_headers).queues == (1, 2)


def test_the_alternate_takes_only_what_its_exchange_leads_nowhere():
    routes = table(x="direct lost", lost="fanout", other="direct")
    routes.bind_queue("lost", 3, "", {})
    routes.bind_queue("x", 1, "k", {})
    assert routes.route("x", ["k"], no_headers).queues == (1,)
    assert routes.route("x", ["z"], no_headers).queues == (3,)
    routes.bind_exchange("x", "other", "z", {})
    assert routes.route("x", ["z"], no_headers).queues == (), "the message was taken by an exchange"


def test_alternates_chain_may_miss_and_may_circle():
    routes = table(a="direct b", b="direct c", c="direct a", d="direct nowhere")
    assert routes.route("a", ["k"], no_headers).queues == ()
    assert routes.route("d", ["k"], no_headers).queues == ()
    routes.bind_queue("c", 2, "k", {})
    assert routes.route("a", ["k"], no_headers).queues == (2,)
    routes.set_alternate("a", "")
    assert routes.route("a", ["q1"], no_headers).queues == (1,), "the default exchange may be an alternate"


def test_a_route_by_headers_says_so():
    routes = table(x="fanout", h="headers")
    routes.bind_queue("h", 1, "", {"kind": "a"})
    assert routes.route("x", ["k"], no_headers).by_headers is False
    routes.bind_exchange("x", "h", "", {})
    assert routes.route("x", ["k"], lambda: {"kind": "a"}) == ((1,), True)
    assert routes.route("x", ["k"], lambda: {"kind": "b"}) == ((), True)


def test_an_unknown_exchange_is_the_callers_mistake():
    with pytest.raises(KeyError):
        table().route("nope", ["k"], no_headers)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["a", "b", "c", 1, 2, 3])), max_size=12),
    st.sampled_from("abc"),
)
def test_any_graph_of_fanouts_leads_to_what_can_be_reached(edges, start):
    routes = table(a="fanout", b="fanout", c="fanout")
    for source, target in edges:
        if isinstance(target, int):
            routes.bind_queue(source, target, "", {})
        else:
            routes.bind_exchange(source, target, "", {})
    reached, frontier = set(), {start}
    while frontier - reached:
        reached |= frontier
        frontier = {target for source, target in edges if source in reached and isinstance(target, str)}
    wanted = {target for source, target in edges if source in reached and isinstance(target, int)}
    assert routes.route(start, ["k"], no_headers).queues == tuple(sorted(wanted))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_a_bucket_counts_like_a_multiset(steps):
    bucket, held = None, []
    for member, remove in steps:
        if remove and member in held:
            held.remove(member)
            bucket = removed(bucket, member)
        elif not remove:
            held.append(member)
            bucket = added(bucket, member)
        assert sorted(members(bucket)) == sorted(set(held))
        assert (bucket is None) is (not held)
        assert isinstance(bucket, dict) is (len(held) > 1)
