"""Health checks under /api/health/checks, and the test that brings a message through.

Law: a check answers 200 with `{"status": "ok"}`, or 503 with `failed` and the reason in RabbitMQ's words, or in one
line where RabbitMQ has no such check; the oldest of them,
/api/healthchecks/node, always 200, as its clients know it.
"""

from __future__ import annotations

import time
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.ids import NO_CONNECTION
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import MANAGEMENT
from cluster.node.admin.api.cluster import listeners
from cluster.node.admin.api.figures import time_text
from cluster.node.admin.api.nodes import member_in_path
from cluster.node.admin.health import group_views, not_ready_reason
from cluster.node.admin.report import NodeReport

_SAME_PROTOCOL: Final = {"amqp091": "amqp", "amqp0-9-1": "amqp", "amqps": "amqp/ssl"}
PROBE_QUEUE: Final = "aliveness-test"
_DAY_SECONDS: Final = 24 * 3600
_UNIT_SECONDS: Final = {
    "days": _DAY_SECONDS,
    "weeks": 7 * _DAY_SECONDS,
    "months": 30 * _DAY_SECONDS,
    "years": 365 * _DAY_SECONDS,
}
_CHECKS: Final = "/api/health/checks"
_NO_LISTENER: Final = "No active listener"
_ALONE: Final = "single node cluster"


def _ok(**more: object) -> Response:
    return JSONResponse({"status": "ok", **more})


def _failed(reason: str, **more: object) -> Response:
    return JSONResponse({"status": "failed", "reason": reason, **more}, status_code=503)


def _alarms(reports: list[NodeReport], reason: str) -> Response:
    alarms = [{"node": report.name, "resource": alarm} for report in reports for alarm in report.alarms]
    return _failed(reason, alarms=alarms) if alarms else _ok()


async def check_alarms(asked: Asked) -> Response:
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    reports = [member.report for member in cluster.members if member.report is not None]
    return _alarms(reports, "There are alarms in effect in the cluster")


async def check_local_alarms(asked: Asked) -> Response:
    return _alarms([asked.node.local_report()], "There are alarms in effect on the node")


async def check_quorum_critical(asked: Asked) -> Response:
    """A node without others is not critical to anyone else."""
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    if len(cluster.members) == 1:
        return _ok(reason=_ALONE)
    name = cluster.answered_by
    groups = [view for view in group_views(cluster) if name in view.critical_nodes or view.spare < 0]
    if not groups:
        return _ok()
    return _failed(
        "There are quorum queues that would lose their quorum if the target node is shut down",
        queues=[{"group": view.id, "name": f"group {view.id}", "type": "group"} for view in groups],
    )


async def check_serving(asked: Asked) -> Response:
    reason = not_ready_reason(asked.node.local_report())
    return _failed(reason) if reason else _ok()


async def check_port_listener(asked: Asked) -> Response:
    ports = sorted({port for _, port in listeners(asked.node.local_report())})
    asked_for = asked.part("port")
    if not (asked_for.isascii() and asked_for.isdecimal() and len(asked_for) < 6):
        raise HTTPException(400, f"not a port: {asked_for!r}")
    port = int(asked_for)
    if port in ports:
        return JSONResponse({"status": "ok", "port": port})
    return _failed(_NO_LISTENER, missing=port, ports=ports)


async def check_protocol_listener(asked: Asked) -> Response:
    protocols = sorted({name for name, _ in listeners(asked.node.local_report())})
    protocol = asked.part("protocol")
    if _SAME_PROTOCOL.get(protocol, protocol) in protocols:
        return JSONResponse({"status": "ok", "protocol": protocol})
    return _failed(_NO_LISTENER, missing=protocol, protocols=protocols)


async def check_certificate(asked: Asked) -> Response:
    """Of this node; one that has none passes. Raises HTTPException 400."""
    number, unit = asked.part("within"), asked.part("unit")
    if unit not in _UNIT_SECONDS:
        raise HTTPException(400, "Time unit not recognised. Supported units: days, weeks, months, years.")
    if not (number.isascii() and number.isdecimal() and len(number) < 6):
        raise HTTPException(400, "Invalid expiration value.")
    expires_at = asked.node.local_report().certificate_expires_at
    if not expires_at or expires_at > time.time() + int(number) * _UNIT_SECONDS[unit]:
        return _ok()
    report = asked.node.local_report()
    expired = {"name": report.name, "port": report.amqps_port, "expires_on": time_text(expires_at)}
    return _failed("Certificates expiring", expired=[expired])


async def check_in_service(asked: Asked) -> Response:
    phase = asked.node.local_report().phase
    return _ok() if phase == "running" else _failed(phase)


async def aliveness(asked: Asked) -> Response:
    """Declares a queue, brings a message into it with a quorum, and takes it out."""
    vhost = asked.vhost_to_change()
    command = c.DeclareQueue(vhost.name, PROBE_QUEUE, True, False, False)
    checks, user = asked.catalog.checks, asked.caller.name
    if vhost.queues.get(PROBE_QUEUE) is None and checks.declare_queue(user, command) is None:
        await asked.node.operations.submit(command)
    queue = checks.read_queue(user, vhost.name, PROBE_QUEUE, NO_CONNECTION)
    asked.caller.catalog.checks.publish(user, vhost.name, "", PROBE_QUEUE)
    await asked.node.operations.pass_through(queue)
    return _ok()


async def check_virtual_hosts(asked: Asked) -> Response:
    """A vhost is served wherever its cluster is: it does not stop by itself."""
    return _ok()


async def check_mirror_sync_critical(asked: Asked) -> Response:
    """There are no mirrors that could lag: what is confirmed is on a majority."""
    alone = len(asked.catalog.members) == 1
    return _ok(reason=_ALONE) if alone else _ok()


async def check_node(asked: Asked) -> Response:
    """The node in the path, or else this one: does it serve clients, and are publishers let through?"""
    report: NodeReport | None = asked.node.local_report()
    if "name" in asked.request.path_params:
        report = (await member_in_path(asked))[0].report
    reason = "it does not answer" if report is None else not_ready_reason(report) or ", ".join(report.alarms)
    return JSONResponse({"status": "failed", "reason": reason} if reason else {"status": "ok"})


ENDPOINTS = (
    Endpoint("GET", f"{_CHECKS}/alarms", MANAGEMENT, check_alarms),
    Endpoint("GET", f"{_CHECKS}/local-alarms", MANAGEMENT, check_local_alarms),
    Endpoint("GET", f"{_CHECKS}/node-is-quorum-critical", MANAGEMENT, check_quorum_critical),
    Endpoint("GET", f"{_CHECKS}/ready-to-serve-clients", MANAGEMENT, check_serving),
    Endpoint("GET", f"{_CHECKS}/is-in-service", MANAGEMENT, check_in_service),
    Endpoint("GET", f"{_CHECKS}/port-listener/{{port}}", MANAGEMENT, check_port_listener),
    Endpoint("GET", f"{_CHECKS}/protocol-listener/{{protocol}}", MANAGEMENT, check_protocol_listener),
    Endpoint("GET", "/api/aliveness-test/{vhost}", MANAGEMENT, aliveness),
    Endpoint("GET", "/api/healthchecks/node", MANAGEMENT, check_node),
    Endpoint("GET", "/api/healthchecks/node/{name}", MANAGEMENT, check_node),
    Endpoint("GET", f"{_CHECKS}/certificate-expiration/{{within}}/{{unit}}", MANAGEMENT, check_certificate),
    Endpoint("GET", f"{_CHECKS}/virtual-hosts", MANAGEMENT, check_virtual_hosts),
    Endpoint("GET", f"{_CHECKS}/node-is-mirror-sync-critical", MANAGEMENT, check_mirror_sync_critical),
)
