"""The publishing side of a channel, without a node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.amqp import methods as m
from cluster.amqp.events import PublishBatch
from cluster.amqp.properties import BasicProperties, encode_header
from cluster.broker.channel.confirms import Confirms
from cluster.broker.errors import BrokerError, no_exchange
from cluster.node.amqp.flow import Entrance
from cluster.node.amqp.publish import Route
from cluster.node.amqp.publishing import Publishing

METHOD = m.BasicPublish("new", "k", False, False).encode()
HEADER = encode_header(4, BasicProperties(delivery_mode=2))


class Behind:
    """A connection, with its route cache, of a node whose catalog lacks an exchange until it `is_fresh`; nothing is
    bound to that."""

    def __init__(self) -> None:
        self.broker = SimpleNamespace(alarm="")
        self.wellformed = {HEADER[12:]}
        self.routes: dict[bytes, Route] = {}
        self.route_cache = self
        self.is_fresh = False

    def find(self, method: bytes, header: bytes) -> Route:
        if not self.is_fresh:
            raise no_exchange("/", "new")
        return Route(method, "new", "k", [], Entrance(None), mandatory=False, static=True)


def batch() -> PublishBatch:
    return PublishBatch(1, [METHOD], [HEADER], [b"body"])


def test_what_was_looked_at_twice_is_not_held_after_that() -> None:
    connection: Any = Behind()
    side = Publishing(1, connection)
    run = batch()
    assert not side.publish(run)
    assert side.wants_second_look(run)
    connection.is_fresh = True
    assert side.publish(run)
    assert not side.wants_second_look(run)


def test_an_exchange_that_is_not_found_with_the_catalog_up_to_date_is_404() -> None:
    connection: Any = Behind()
    side = Publishing(1, connection)
    run = batch()
    assert not side.publish(run)
    with pytest.raises(BrokerError, match="no exchange 'new'"):
        side.publish(run)


class Nowhere:
    """A connection of a node whose catalog, which `is_fresh` or not, has the exchange and nothing bound to it."""

    def __init__(self, *, is_fresh: bool) -> None:
        counters = SimpleNamespace(publishes_refused=0)
        self.broker = SimpleNamespace(alarm="", is_fresh=is_fresh, counters=counters)
        self.wellformed = {HEADER[12:]}
        self.routes = {METHOD: Route(METHOD, "new", "k", [], Entrance(None), mandatory=False, static=True)}
        self.route_cache = None

    def confirms_soon(self, side: Publishing) -> None: ...


def confirming(connection: Any) -> tuple[Publishing, Confirms]:
    side = Publishing(1, connection)
    side.confirms = Confirms()
    return side, side.confirms


def test_what_has_nowhere_to_go_is_confirmed_at_once_where_the_catalog_is_fresh() -> None:
    side, confirms = confirming(Nowhere(is_fresh=True))
    assert side.publish(batch())
    assert list(confirms.take_acks())


def test_what_has_nowhere_to_go_gets_a_second_look_where_the_catalog_may_be_behind() -> None:
    side, confirms = confirming(Nowhere(is_fresh=False))
    run = batch()
    assert not side.publish(run)
    assert not list(confirms.take_acks())
    assert side.wants_second_look(run)
    assert side.publish(run)
    assert list(confirms.take_acks())


def test_where_nobody_can_tell_whether_it_has_somewhere_to_go_it_is_refused() -> None:
    connection = Nowhere(is_fresh=False)
    side, confirms = confirming(connection)
    run = batch()
    assert not side.publish(run)
    assert side.publish(run, is_known=False)
    assert list(confirms.take_nacks()) == [1]
    assert not list(confirms.take_acks())
    assert connection.broker.counters.publishes_refused == 1
