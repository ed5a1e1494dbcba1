"""Taking this node out of service, and back.

Law: asking twice changes nothing. A drain goes on when the caller has gone; `phase` tells how far it is.
"""

from __future__ import annotations

from starlette.responses import Response

from cluster.node.admin.api.answers import found
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR, MONITORING
from cluster.node.admin.source import Refusal, Refused


async def phase(asked: Asked) -> Response:
    """`{"node": "mq-1", "phase": "running"}`: starting, running, draining or drained."""
    report = asked.node.local_report()
    return found(asked, {"node": report.name, "phase": asked.node.service.phase})


async def drain(asked: Asked) -> Response:
    if asked.node.service.phase == "starting":
        raise Refused(Refusal.CONFLICT, "the node is not in service yet")
    asked.node.service.drain()
    return await phase(asked)


async def revive(asked: Asked) -> Response:
    try:
        asked.node.service.revive()
    except OSError as error:
        raise Refused(Refusal.CONFLICT, error.strerror or str(error)) from error
    return await phase(asked)


ENDPOINTS = (
    Endpoint("GET", "/api/maintenance", MONITORING, phase),
    Endpoint("POST", "/api/maintenance/drain", ADMINISTRATOR, drain),
    Endpoint("POST", "/api/maintenance/revive", ADMINISTRATOR, revive),
)
