"""The name that the cluster goes by.

Law: the one given over HTTP, which RabbitMQ keeps as the global parameter `cluster_name`, goes before the one in the
configuration, on every node, and to clients that connect from then on.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

from cluster.amqp.settings import ConnectionSettings
from cluster.broker.catalog.catalog import Catalog

GLOBAL_PARAMETER: Final = "global-parameter."
"""What the settings that are global parameters begin with; their values are JSON."""
CLUSTER_NAME: Final = "cluster_name"


def cluster_name(catalog: Catalog, configured: str) -> str:
    """A parameter of that name that is no text counts for nothing."""
    given = catalog.settings.get(GLOBAL_PARAMETER + CLUSTER_NAME)
    name = None if given is None else json.loads(str(given))
    return name if isinstance(name, str) and name else configured


def told_to_clients(settings: ConnectionSettings, catalog: Catalog) -> ConnectionSettings:
    """The settings of a connection that begins now."""
    properties = settings.server_properties
    name = cluster_name(catalog, str(properties.get(CLUSTER_NAME, "")))
    if properties.get(CLUSTER_NAME, "") == name:
        return settings
    return replace(settings, server_properties={**properties, CLUSTER_NAME: name})
