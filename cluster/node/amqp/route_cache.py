"""The routes of a connection's publishes, found once.

Law: a route is kept under the payload of its basic.publish, and only while the catalog stands still. None is kept of a
publish whose own headers decide where it goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.node.amqp.direct_reply import ReplyConsumer
from cluster.node.amqp.publish import ROUTES_MAX, Route
from cluster.node.amqp.routing import resolve, resolve_special

if TYPE_CHECKING:
    from cluster.node.amqp.connection import Connection


class RouteCache:
    """Of one connection."""

    __slots__ = ("_connection", "_version", "routes")

    def __init__(self, connection: Connection) -> None:
        self.routes: dict[bytes, Route] = {}
        """By method payload. At most ROUTES_MAX; when full it is emptied. Always the same dict."""
        self._connection = connection
        self._version = -1
        """Of the catalog that the routes were found in."""

    def find(self, method: bytes, header: bytes) -> Route:
        """Where a publish goes that is not among `routes`. Raises BrokerError, AmqpException."""
        self._refresh()
        route = resolve(self._connection, method, header)
        if route.static:
            self.routes[method] = route
        return route

    def find_special(self, reply_consumer: ReplyConsumer | None, method: bytes, header: bytes) -> tuple[Route, bytes]:
        """The same for a message whose header has a say, and the header to be stored."""
        self._refresh()
        return resolve_special(self._connection, reply_consumer, method, header)

    def _refresh(self) -> None:
        version = self._connection.broker.catalog.version
        if version != self._version or len(self.routes) >= ROUTES_MAX:
            self.routes.clear()
            self._version = version
