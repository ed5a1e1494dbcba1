"""Runtime parameters under /api/parameters and /api/global-parameters.

Law: a global parameter is any JSON value under a name, kept for who asks; of `cluster_name` alone the cluster makes
something. Parameters of a component belong to plugins, of which there are none: the list shows those that limits and
operator policies are in RabbitMQ's documents, and nothing can be put.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.commands import PutSetting
from cluster.broker.catalog.vhost import Vhost
from cluster.node.admin.api.answers import changed, found, listed, nothing
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR, POLICYMAKER
from cluster.node.admin.api.fields import BadField, Document, field
from cluster.node.admin.api.policies import policy_documents
from cluster.node.cluster_name import CLUSTER_NAME, GLOBAL_PARAMETER

_CLUSTER_ID = "internal_cluster_id"
"""Under which RabbitMQ tells what tells clusters apart; nobody sets it."""
GLOBAL_PARAMETERS_MAX: Final = 256
"""One more is a bad request."""
VALUE_BYTES_MAX: Final = 64 << 10
"""Of a global parameter as JSON; a longer one is a bad request."""


def parameter_documents(vhosts: Iterable[Vhost]) -> list[Document]:
    """Limits and operator policies of vhosts, as RabbitMQ's documents hold them."""
    vhosts = list(vhosts)
    documents: list[Document] = [
        {"component": "vhost-limits", "name": "limits", "vhost": v.name, "value": dict(sorted(v.limits.items()))}
        for v in vhosts
        if v.limits
    ]
    for policy in policy_documents(vhosts, operator=True):
        value = {key: policy[key] for key in ("pattern", "definition", "priority", "apply-to")}
        documents.append(
            {"component": "operator_policy", "name": policy["name"], "vhost": policy["vhost"], "value": value}
        )
    return documents


def global_parameter_documents(catalog: Catalog) -> list[Document]:
    """`{"name", "value"}`, ordered by name."""
    return [
        {"name": setting.removeprefix(GLOBAL_PARAMETER), "value": json.loads(str(value))}
        for setting, value in sorted(catalog.settings.items())
        if setting.startswith(GLOBAL_PARAMETER)
    ]


def read_global_parameter(name: str, document: Document) -> PutSetting:
    """Raises BadField."""
    if not name:
        raise BadField("a parameter's name cannot be empty")
    if "value" not in document:
        raise BadField("'value' is missing")
    text = json.dumps(document["value"], ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > VALUE_BYTES_MAX:
        raise BadField(f"'value' is longer than {VALUE_BYTES_MAX} bytes")
    return PutSetting(GLOBAL_PARAMETER + name, text)


def _held(asked: Asked) -> Any:
    """The value of the global parameter in the path. Raises HTTPException 404."""
    name = asked.part("name")
    text = asked.catalog.settings.get(GLOBAL_PARAMETER + name)
    if text is None:
        raise HTTPException(404, f"no global parameter '{name}'")
    return json.loads(str(text))


async def global_parameters(asked: Asked) -> Response:
    documents = [d for d in global_parameter_documents(asked.catalog) if d["name"] != _CLUSTER_ID]
    return await listed(asked, [*documents, {"name": _CLUSTER_ID, "value": asked.catalog.cluster_id}], dict)


async def global_parameter(asked: Asked) -> Response:
    name = asked.part("name")
    return found(asked, {"name": name, "value": asked.catalog.cluster_id if name == _CLUSTER_ID else _held(asked)})


async def put_global(asked: Asked) -> Response:
    """`{"value"}`."""
    command = read_global_parameter(asked.part("name"), await asked.body())
    new = command.name not in asked.catalog.settings
    if new and len(global_parameter_documents(asked.catalog)) >= GLOBAL_PARAMETERS_MAX:
        raise HTTPException(400, f"there are {GLOBAL_PARAMETERS_MAX} global parameters already")
    await asked.node.operations.submit(command)
    return changed(new=new)


async def delete_global(asked: Asked) -> Response:
    _held(asked)
    await asked.node.operations.submit(PutSetting(GLOBAL_PARAMETER + asked.part("name"), None))
    return nothing()


async def put_cluster_name(asked: Asked) -> Response:
    """`{"name"}`."""
    name = field(await asked.body(), "name", str)
    if not name:
        raise BadField("'name' cannot be empty")
    await asked.node.operations.submit(read_global_parameter(CLUSTER_NAME, {"value": name}))
    return nothing()


async def parameters(asked: Asked) -> Response:
    """Of the vhost and component in the path, where it names them."""
    vhosts = [asked.vhost()] if "vhost" in asked.request.path_params else asked.caller.vhosts()
    component = asked.part("component") if "component" in asked.request.path_params else None
    kept = [d for d in parameter_documents(vhosts) if component in (None, d["component"])]
    return await listed(asked, kept, dict)


async def parameter(asked: Asked) -> Response:
    component, name = asked.part("component"), asked.part("name")
    for document in parameter_documents([asked.vhost()]):
        if (document["component"], document["name"]) == (component, name):
            return found(asked, document)
    raise HTTPException(404, f"no parameter '{name}' of component '{component}'")


async def put(asked: Asked) -> Response:
    asked.vhost_to_change()
    return JSONResponse(
        {
            "error": "bad_request",
            "reason": f"Validation failed\n\ncomponent {asked.part('component')} not found\n",
        },
        status_code=400,
    )


ENDPOINTS = (
    Endpoint("GET", "/api/global-parameters", POLICYMAKER, global_parameters),
    Endpoint("GET", "/api/global-parameters/{name}", POLICYMAKER, global_parameter),
    Endpoint("PUT", "/api/global-parameters/{name}", ADMINISTRATOR, put_global),
    Endpoint("DELETE", "/api/global-parameters/{name}", ADMINISTRATOR, delete_global),
    Endpoint("PUT", "/api/cluster-name", ADMINISTRATOR, put_cluster_name),
    Endpoint("GET", "/api/parameters", POLICYMAKER, parameters),
    Endpoint("GET", "/api/parameters/{component}", POLICYMAKER, parameters),
    Endpoint("GET", "/api/parameters/{component}/{vhost}", POLICYMAKER, parameters),
    Endpoint("GET", "/api/parameters/{component}/{vhost}/{name}", POLICYMAKER, parameter),
    Endpoint("PUT", "/api/parameters/{component}/{vhost}/{name}", POLICYMAKER, put),
)
