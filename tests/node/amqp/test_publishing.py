"""The publishing side of a channel, without a node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cluster.amqp import methods as m
from cluster.amqp.events import PublishBatch
from cluster.amqp.properties import BasicProperties, encode_header
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
