"""Connections whose vhost or user is no more, or is limited from now on.

Law: who has lost vhost or user is told so (320) as soon as this node's copy of the catalog knows; nobody goes on with
rights that are gone. A limit of channels holds for the next channel of those who are connected, too.
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.amqp.errors import connection_forced
from cluster.broker.catalog.outcome import AccessChanged, Change, VhostDeleted
from cluster.node.amqp.broker import Broker


def evict(broker: Broker, changes: Iterable[Change]) -> None:
    """Close the connections that these changes leave without a vhost or a user, and let the limits of others count."""
    vhosts: set[str] = set()
    users: set[str] = set()
    changed: set[str] = set()
    for change in changes:
        if isinstance(change, VhostDeleted) and change.vhost not in broker.catalog.vhosts:
            vhosts.add(change.vhost)
        elif isinstance(change, AccessChanged):
            (changed if change.user in broker.catalog.users else users).add(change.user)
    if not vhosts and not users and not changed:
        return
    for connection in list(broker.connections.values()):
        if connection.vhost in vhosts:
            reason = f"vhost '{connection.vhost}' is deleted"
        elif connection.user in users:
            reason = f"user '{connection.user}' is deleted"
        else:
            if connection.user in changed:
                connection.machine.judge_channels(wanted=broker.limits_channels(connection.user))
            continue
        connection.fail(connection_forced(reason))
