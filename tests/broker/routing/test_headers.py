"""Headers matching: x-match in RabbitMQ's meaning."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.amqp.field_table import Binary, Float32, Int8, Int64, Timestamp, UInt32
from cluster.broker.routing.headers import HeadersMatcher
from cluster.broker.routing.values import comparable


def found(arguments, headers):
    matcher = HeadersMatcher()
    matcher.add(1, "", arguments)
    return list(matcher.match("", lambda: headers)) == [1]


@pytest.mark.parametrize(
    ("arguments", "headers", "match"),
    [
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 0}, True),
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1}, False),
        ({"a": 1, "b": "x"}, {"a": 1}, False),
        ({"x-match": "any", "a": 1, "b": "x"}, {"b": "x"}, True),
        ({"x-match": "any", "a": 1, "b": "x"}, {"b": "y"}, False),
        ({"x-match": "any"}, {"a": 1}, False),
        ({"x-match": "all"}, {}, True),
        ({}, {"a": 1}, True),
        ({"x-match": "all", "x-a": 1, "b": 2}, {"b": 2}, True),
        ({"x-match": "any", "x-a": 1, "b": 2}, {"x-a": 1}, False),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"b": 2}, False),
        ({"x-match": "all-with-x", "x-a": 1, "b": 2}, {"x-a": 1, "b": 2}, True),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"x-a": 1}, True),
        ({"a": None}, {"a": "whatever"}, True),
        ({"a": None}, {"b": 1}, False),
        ({"a": "x"}, {"a": None}, False),
        ({"a": 5}, {"a": Int64(5)}, True),
        ({"a": 5}, {"a": Int8(5)}, True),
        ({"a": 5}, {"a": 5.0}, True),
        ({"a": 5}, {"a": "5"}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 5}, {"a": Timestamp(5)}, True),
        ({"a": 0.5}, {"a": Float32(0.5)}, True),
        ({"a": "x"}, {"a": Binary(b"x")}, True),
        ({"a": b"\xff"}, {"a": Binary(b"\xff")}, True),
        ({"a": []}, {"a": {}}, True),
        ({"a": [1, 2]}, {"a": [1, 2]}, True),
        ({"a": [1, 2]}, {"a": [1, Int64(2)]}, False),
        ({"a": {"b": 1}}, {"a": {"b": True}}, False),
        ({"a": Decimal("1.5")}, {"a": Decimal("1.5")}, True),
    ],
)
def test_a_binding_matches_as_rabbitmq_says(arguments, headers, match):
    assert found(arguments, headers) is match


VALUES = st.sampled_from([None, 1, Int8(1), UInt32(2), True, "x", 1.0, Timestamp(1), b"\xff", [1], {"a": "x"}])
TABLES = st.dictionaries(st.sampled_from(["a", "b", "x-a", "x-b"]), VALUES, max_size=4)
WORDS = st.sampled_from(["all", "any", "all-with-x", "any-with-x"])


@settings(max_examples=300)
@given(st.lists(st.tuples(WORDS, TABLES), max_size=6), TABLES, st.data())
def test_many_bindings_match_like_each_alone_and_leave_without_a_trace(bindings, headers, data):
    matcher = HeadersMatcher()
    tables = [table | {"x-match": word} for word, table in bindings]
    for queue, table in enumerate(tables):
        matcher.add(queue, "", table)
    found_together = list(matcher.match("", lambda: headers))
    assert sorted(found_together) == [queue for queue, table in enumerate(tables) if found(table, headers)]
    for queue in data.draw(st.permutations(range(len(tables)))):
        matcher.remove(queue, "", tables[queue])
    assert not matcher._by_rule


def test_headers_are_not_decoded_when_nothing_is_bound():
    def load():
        raise AssertionError("decoded")

    assert list(HeadersMatcher().match("", load)) == []


def test_values_of_one_class_are_equal_whatever_their_width():
    assert comparable(7) == comparable(Int8(7)) == comparable(Int64(7))
    assert comparable(7) != comparable(7.0)
    assert comparable(True) != comparable(1)
