"""Definitions under /api/definitions: export, import, and what an import would change.

Law: an import never deletes. `?dry_run=true` changes nothing and answers with the plan. An import that had nothing
to warn of answers 204, as RabbitMQ does, and one that had 200 with the lines.
"""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.node.admin.api.answers import encoded, nothing
from cluster.node.admin.api.asked import DOCUMENT_BYTES_MAX, Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR, POLICYMAKER
from cluster.node.admin.definitions.document import DefinitionsError
from cluster.node.admin.definitions.export import export, export_vhost
from cluster.node.admin.definitions.load import carry_out, prepare


async def definitions(asked: Asked) -> Response:
    return await encoded(await export(asked.catalog))


async def vhost_definitions(asked: Asked) -> Response:
    return await encoded(await export_vhost(asked.vhost_to_change()))


async def _import(asked: Asked, vhost: str | None) -> Response:
    document = await asked.body(DOCUMENT_BYTES_MAX, form_part="file")
    try:
        planned = await prepare(document, asked.catalog, asked.node.operations, vhost)
        if asked.flag("dry_run"):
            changes = [
                {"action": step.action.value, "section": step.item.section, "object": step.item.label}
                for step in planned.steps
            ]
            return await encoded(
                {"changes": changes, "unchanged": planned.unchanged, "warnings": list(planned.warnings)}
            )
        imported = await carry_out(planned, asked.node.operations)
    except DefinitionsError as error:
        raise HTTPException(400, str(error)) from None
    if not imported.warnings and not asked.flag("summary"):
        return nothing()
    return JSONResponse(
        {
            "created": imported.created,
            "changed": imported.changed,
            "unchanged": imported.unchanged,
            "warnings": list(imported.warnings),
        }
    )


async def load(asked: Asked) -> Response:
    return await _import(asked, None)


async def load_vhost(asked: Asked) -> Response:
    return await _import(asked, asked.vhost_to_change().name)


ENDPOINTS = (
    Endpoint("GET", "/api/definitions", ADMINISTRATOR, definitions),
    Endpoint("POST", "/api/definitions", ADMINISTRATOR, load),
    Endpoint("GET", "/api/definitions/{vhost}", POLICYMAKER, vhost_definitions),
    Endpoint("POST", "/api/definitions/{vhost}", ADMINISTRATOR, load_vhost),
)
