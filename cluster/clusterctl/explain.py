"""Why a queue is as it is.

Law: pure over what the node answered; what keeps messages from flowing comes first, each reason with what to look at
next. A queue that flows has no reasons.
"""

from __future__ import annotations

from typing import Any

from cluster.clusterctl.look import UNKNOWN, count, table

Document = dict[str, Any]


def reasons(queue: Document, status: Document) -> list[str]:
    """What is wrong with the queue, worst first."""
    found: list[str] = []
    up = {node["name"] for node in status["nodes"] if node["up"]}
    down = [name for name in queue["members"] if name not in up]
    group = next((g for g in status["groups"] if g["id"] == queue["group"]), None)
    if not queue["leader"]:
        lost = group is not None and not group["has_quorum"]
        found.append(
            f"group {queue['group']} has lost its quorum: nothing goes in or out until a member returns"
            if lost
            else "it has no leader: an election is under way, or its node is gone"
        )
    if down:
        found.append(f"{', '.join(down)} of its members {'is' if len(down) == 1 else 'are'} down")
    found += [
        f"{alarm['alarm']} alarm on {alarm['node']}: publishers are blocked, consumers go on"
        for alarm in status["alarms"]
    ]
    ready, unacked, consumers = queue["messages_ready"], queue["messages_unacked"], queue["consumers"]
    if ready and not consumers:
        found.append(f"{count(ready)} ready messages and no consumer")
    elif ready and unacked and _exhausted(queue):
        found.append(
            f"{count(ready)} messages wait because every consumer holds as many as its prefetch count allows "
            f"({count(unacked)} unacked): the consumers are slow, or do not ack"
        )
    return found


def _exhausted(queue: Document) -> bool:
    """Whether no consumer has room, as far as the prefetch counts tell."""
    windows = [c["prefetch_count"] for c in queue.get("consumer_details", []) if c["ack_required"]]
    return bool(windows) and all(windows) and queue["messages_unacked"] >= sum(windows)


def _messages(queue: Document) -> str:
    leaving = queue.get("messages_leaving", 0)
    text = f"{count(queue['messages_ready'])} ready, {count(queue['messages_unacked'])} unacked"
    return f"{text}, {count(leaving)} on their way to dead letters" if leaving else text


def explain_view(queue: Document, found: list[str]) -> list[str]:
    """Lines of `clusterctl explain queue`."""
    replicated = bool(queue["members"])
    kind = "replicated" if replicated else "in the memory of its node alone"
    properties = [word for word in ("durable", "exclusive", "auto_delete") if queue.get(word)]
    lines = [
        f"queue {queue['name']} in vhost {queue['vhost']}: {kind}, {queue.get('type', '?')}"
        + (f" ({', '.join(properties)})" if properties else ""),
        f"messages   {_messages(queue) if queue['leader'] else 'not counted: only a leader can'}",
        f"leader     {queue['leader'] or 'NONE'}"
        + (f"   members {', '.join(queue['members'])}   group {queue['group']}" if replicated else ""),
        f"arguments  {_pairs(queue.get('arguments', {}))}",
        f"policy     {queue.get('policy') or 'none'}   operator policy {queue.get('operator_policy') or 'none'}",
        f"consumers  {count(queue['consumers']) if queue['leader'] else UNKNOWN}",
    ]
    details = queue.get("consumer_details", [])
    if details:
        rows = [
            [c["consumer_tag"], c["node"], c["user"], str(c["prefetch_count"] or "none"), _acks(c), c["connection"]]
            for c in details
        ]
        headings = ("TAG", "NODE", "USER", "PREFETCH", "ACK", "CONNECTION")
        lines += [f"  {line}" for line in table(headings, rows, right=frozenset({"PREFETCH"}))]
    lines += ["PROBLEMS", *[f"  ! {reason}" for reason in found]] if found else ["nothing is wrong with it"]
    return lines


def _acks(consumer: Document) -> str:
    return "manual" if consumer["ack_required"] else "automatic"


def _pairs(values: Document) -> str:
    return ", ".join([f"{key}={value}" for key, value in values.items()]) or "none"
