"""The members of the cluster: who they are, what they hold, and how one is let go.

Law: a member is asked for by its name. That one is to leave is answered once it has begun; the list tells how far.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from cluster.node.admin.api.answers import listed
from cluster.node.admin.api.asked import Asked, Endpoint
from cluster.node.admin.api.caller import ADMINISTRATOR, MONITORING
from cluster.node.admin.api.fields import Document
from cluster.node.admin.health import group_views, state
from cluster.node.admin.report import CATALOG_GROUP, MemberReport


async def nodes(asked: Asked) -> Response:
    """Each with `id`, `name`, `address`, `membership` (joining, active, draining, gone), `state`, `role` (of its
    replica of the catalog), and how many groups it holds and leads."""
    cluster = await asked.node.cluster_report(asked.timeout_seconds())
    groups = group_views(cluster)

    def describe(member: MemberReport) -> Document:
        report = member.report
        catalog = next((g for g in report.groups if g.id == CATALOG_GROUP), None) if report is not None else None
        return {
            "id": member.node,
            "name": member.name,
            "address": member.address,
            "membership": member.membership,
            "up": report is not None,
            "state": state(report) if report is not None else "unreachable",
            "reason": member.unreachable_reason,
            "role": catalog.role if catalog is not None else "",
            "groups": sum(member.name in (*group.voters, *group.learners) for group in groups),
            "leads": sum(group.leader == member.name for group in groups),
        }

    return await listed(asked, list(cluster.members), describe)


async def remove(asked: Asked) -> Response:
    """Answered 202: it hands over what it holds, or is replaced, and is then a member no more. Refused with 409."""
    name = asked.part("name")
    await asked.node.remove(name)
    return JSONResponse({"name": name, "membership": "draining"}, status_code=202)


ENDPOINTS = (
    Endpoint("GET", "/api/cluster/nodes", MONITORING, nodes),
    Endpoint("DELETE", "/api/cluster/nodes/{name}", ADMINISTRATOR, remove),
)
