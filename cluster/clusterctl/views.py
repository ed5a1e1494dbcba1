"""The documents of the API as text.

Law: the verdict comes first; then the nodes, what they hold, and what is wrong, worst first. A view shows what the
document says and judges nothing: the verdict was made by the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.clusterctl.look import UNKNOWN, count, duration, share, table

Document = dict[str, Any]

_HEALTH = {"healthy": "HEALTHY", "degraded": "DEGRADED", "no-quorum": "NO QUORUM"}
_NODE_COLUMNS = ("NODE", "ROLE", "STATE", "LEADS", "TERM", "APPLIED", "LAG", "FSYNC p99", "CONNS", "MEM", "DISK", "UP")
_WIDE_COLUMNS = ("PID", "AMQP", "HTTP", "CHANNELS", "VERSION")
_RIGHT = frozenset(
    {"LEADS", "TERM", "APPLIED", "LAG", "FSYNC p99", "CONNS", "CHANNELS", "PID", "AMQP", "HTTP"}
    | {"READY", "UNACKED", "LEAVING", "CONSUMERS", "GROUP", "COMMIT"}
)


def status_view(document: Document, *, wide: bool = False, before: tuple[Document, float] | None = None) -> list[str]:
    """Lines of `clusterctl status`. `before` is an earlier document and the seconds since, for rates."""
    lines = [_headline(document), *_nodes(document["nodes"], wide=wide)]
    if wide:
        lines += _groups(document["groups"])
    lines.append(_totals(document["totals"], before) + _unseen(document["groups"]))
    alarms = [f"{alarm['alarm']} on {alarm['node']}" for alarm in document["alarms"]]
    lines.append(f"ALARMS {', '.join(alarms) or 'none'}")
    if document["verdict"]["problems"]:
        lines.append("PROBLEMS")
        lines += [f"  ! {problem}" for problem in document["verdict"]["problems"]]
    return lines


def _headline(document: Document) -> str:
    verdict, cluster = document["verdict"], document["cluster"]
    parts = [
        f"{cluster['name']}  {_HEALTH.get(verdict['health'], verdict['health'])}",
        f"{verdict['nodes_up']}/{verdict['nodes']} nodes up",
    ]
    if document["groups"]:
        voters = sum(member["voter"] for member in document["groups"][0]["members"])
        spare = verdict["can_lose"]
        outlook = f"can lose {spare} more" if spare else "CANNOT lose another node"
        if verdict["health"] == "no-quorum":
            outlook = "LOST"
        parts.append(f"quorum {voters // 2 + 1} of {voters}, {outlook}")
    parts.append(f"v{cluster['version']}")
    return "   ".join(parts)


def _nodes(nodes: Sequence[Document], *, wide: bool) -> list[str]:
    notes = [_note(node) for node in nodes]
    headings = _NODE_COLUMNS + (_WIDE_COLUMNS if wide else ()) + (("NOTE",) if any(notes) else ())
    rows = []
    for node, note in zip(nodes, notes, strict=True):
        cells = _node_cells(node)
        if wide:
            cells += [str(node.get(key, UNKNOWN)) for key in ("pid", "amqp_port", "http_port", "channels", "version")]
        rows.append([*cells, note] if any(notes) else cells)
    return table(headings, rows, right=_RIGHT)


def _node_cells(node: Document) -> list[str]:
    if not node["up"]:
        return [node["name"], "down", node["state"], *[UNKNOWN] * (len(_NODE_COLUMNS) - 3)]
    return [
        node["name"],
        node["role"] or UNKNOWN,
        node["state"],
        f"{node['leads']}/{node['groups']}",
        str(node["term"]),
        count(node["applied_index"]),
        UNKNOWN if node["role"] == "leader" and not node["lag"] else count(node["lag"]),
        f"{node['fsync_p99_ms']:.1f}ms",
        count(node["connections"]),
        share(node["rss_bytes"], node["memory_watermark_bytes"]),
        share(node["disk_used_bytes"], node.get("disk_capacity_bytes", 0)),
        duration(node["uptime_seconds"]),
    ]


def _note(node: Document) -> str:
    if node["up"]:
        return str(node["reason"])
    seen = node["last_seen_seconds"]
    ago = "never seen" if seen is None else f"last seen {duration(seen)} ago"
    return f"{ago}: {node['reason']} ({node['address']})"


def _groups(groups: Sequence[Document]) -> list[str]:
    rows = []
    for group in groups:
        members = ", ".join(map(_member, group["members"]))
        leader = group["leader"] or ("NONE" if group["has_quorum"] else "NO QUORUM")
        kind, term = group["kind"], str(group["term"])
        rows.append([str(group["id"]), kind, leader, term, count(group["commit_index"]), members])
    return table(("GROUP", "KIND", "LEADER", "TERM", "COMMIT", "MEMBERS"), rows, right=_RIGHT)


def _member(member: Document) -> str:
    """`mq-1`, with what is not as it should be: `mq-2 (learner, down, 3,653 behind)`."""
    remarks = [] if member["voter"] else ["learner"]
    if not member["up"]:
        remarks.append("down")
    if member["lag"]:
        remarks.append(f"{count(member['lag'])} behind")
    if member["fault"]:
        remarks.append(member["fault"])
    return f"{member['node']} ({', '.join(remarks)})" if remarks else str(member["node"])


def _totals(totals: Document, before: tuple[Document, float] | None) -> str:
    line = (
        f"QUEUES {count(totals['queues'])}  ready {count(totals['messages_ready'])}  "
        f"unacked {count(totals['messages_unacked'])}  consumers {count(totals['consumers'])}"
    )
    if leaving := totals.get("messages_leaving"):
        line += f"  leaving {count(leaving)}"
    if before is None:
        return line
    earlier, seconds = before
    rates = []
    for word, key in (("in", "published_total"), ("out", "delivered_total"), ("acked", "acknowledged_total")):
        grown = totals[key] - earlier["totals"][key]
        # A node that came or went makes the sum jump: no rate is better than a wrong one.
        rates.append(f"{word} {count(round(grown / seconds)) if grown >= 0 else UNKNOWN}/s")
    return f"{line}  | {'  '.join(rates)}"


def _unseen(groups: Sequence[Document]) -> str:
    """Only leaders can count."""
    silent = sum(not group["leader"] for group in groups)
    return f"  (not counted: what is in {silent} group{'s' if silent > 1 else ''} without a leader)" if silent else ""


_COUNTS = ("messages_ready", "messages_unacked", "messages_leaving", "consumers")


def queues_view(queues: Sequence[Document]) -> list[str]:
    """Lines of `clusterctl queues`. What only a leader knows is unknown without one."""
    rows = [
        [
            queue["vhost"],
            queue["name"],
            *[count(queue.get(key, 0)) if queue["leader"] else UNKNOWN for key in _COUNTS],
            queue["leader"] or "NONE",
            ", ".join(queue["members"]) or "not replicated",
        ]
        for queue in queues
    ]
    return table(("VHOST", "NAME", "READY", "UNACKED", "LEAVING", "CONSUMERS", "LEADER", "MEMBERS"), rows, right=_RIGHT)


def connections_view(connections: Sequence[Document], *, now: float) -> list[str]:
    """Lines of `clusterctl connections`. `now` is Unix time in seconds."""
    rows = [
        [
            connection["node"],
            connection["name"],
            connection["user"],
            connection["vhost"],
            connection["state"],
            count(connection["channels"]),
            connection["client"] or UNKNOWN,
            duration(max(0.0, now - connection["connected_at"] / 1000)),
        ]
        for connection in connections
    ]
    return table(("NODE", "CONNECTION", "USER", "VHOST", "STATE", "CHANNELS", "CLIENT", "UP"), rows, right=_RIGHT)
