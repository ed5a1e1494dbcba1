"""The catalog as a definitions document that RabbitMQ's tools and `parse` read.

Law: what is exclusive or not durable is not in it: it goes with its connection or node. Every list has a fixed order,
so that two exports of the same catalog are equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.vhost import PREDECLARED, Vhost
from cluster.node.admin.api.bindings import binding_document, bindings_of
from cluster.node.admin.api.cluster import FOLLOWED_VERSION
from cluster.node.admin.api.exchanges import exchange_document
from cluster.node.admin.api.fields import Document
from cluster.node.admin.api.parameters import global_parameter_documents, parameter_documents
from cluster.node.admin.api.permissions import permission_documents, topic_permission_documents
from cluster.node.admin.api.policies import policy_documents
from cluster.node.admin.api.users import user_document
from cluster.node.admin.api.values import to_json
from cluster.node.admin.api.vhosts import vhost_document
from cluster.node.admin.gently import gently

_SYSTEM = frozenset([name for name, _, _ in PREDECLARED])


async def export(catalog: Catalog) -> Document:
    """`GET /api/definitions`."""
    vhosts = [vhost for _, vhost in sorted(catalog.vhosts.items())]
    return {
        "rabbit_version": FOLLOWED_VERSION,
        "rabbitmq_version": FOLLOWED_VERSION,
        "product_name": "cluster-mq",
        "users": [user_document(user, catalog) for _, user in sorted(catalog.users.items())],
        "vhosts": [{k: v for k, v in vhost_document(vhost).items() if k != "tracing"} for vhost in vhosts],
        "permissions": permission_documents(catalog),
        "topic_permissions": topic_permission_documents(catalog),
        "global_parameters": global_parameter_documents(catalog),
        **await _contents(vhosts),
    }


async def export_vhost(vhost: Vhost) -> Document:
    """`GET /api/definitions/{vhost}`: its contents, which do not name it."""
    contents = await _contents([vhost])
    for entries in contents.values():
        for entry in entries:
            del entry["vhost"]
    return {"rabbit_version": FOLLOWED_VERSION, "product_name": "cluster-mq"} | contents


async def _contents(vhosts: Iterable[Vhost]) -> dict[str, list[Document]]:
    vhosts = list(vhosts)
    contents: dict[str, Any] = {
        "parameters": parameter_documents(vhosts),
        "policies": policy_documents(vhosts, operator=False),
        "queues": [],
        "exchanges": [],
        "bindings": [],
    }
    for vhost in vhosts:
        lasting = {name for name, queue in vhost.queues.items() if queue.durable}
        async for name in gently(sorted(lasting)):
            queue = vhost.queues.get(name)
            if queue is not None:
                contents["queues"].append(
                    {
                        "name": name,
                        "vhost": vhost.name,
                        "durable": True,
                        "auto_delete": queue.auto_delete,
                        "arguments": to_json(queue.arguments.values),
                    }
                )
        contents["exchanges"] += [
            exchange_document(exchange) for name, exchange in sorted(vhost.exchanges.items()) if name not in _SYSTEM
        ]
        async for placed in gently(bindings_of(vhost)):
            if not placed[1].to_queue or placed[1].destination in lasting:
                document = binding_document(placed)
                del document["properties_key"]
                contents["bindings"].append(document)
    return contents
