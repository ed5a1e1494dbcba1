"""Connections whose vhost or user is no more.

Law: they are told so (320) as soon as this node's copy of the catalog knows; nobody goes on with rights that are gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.amqp.errors import connection_forced
from cluster.broker.catalog.outcome import AccessChanged, Change, VhostDeleted
from cluster.node.amqp.broker import Broker


def evict(broker: Broker, changes: Iterable[Change]) -> None:
    """Close the connections that these changes leave without a vhost or a user."""
    vhosts: set[str] = set()
    users: set[str] = set()
    for change in changes:
        if isinstance(change, VhostDeleted) and change.vhost not in broker.catalog.vhosts:
            vhosts.add(change.vhost)
        elif isinstance(change, AccessChanged) and change.user not in broker.catalog.users:
            users.add(change.user)
    if not vhosts and not users:
        return
    for connection in list(broker.connections.values()):
        if connection.vhost in vhosts:
            reason = f"vhost '{connection.vhost}' is deleted"
        elif connection.user in users:
            reason = f"user '{connection.user}' is deleted"
        else:
            continue
        connection.fail(connection_forced(reason))
