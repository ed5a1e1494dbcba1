"""Out of service and back, and waiting for the moment.

Law: every wait has an end, and its exit code says what was still missing then. A drain or a revival is of the node that
is asked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from cluster.clusterctl.api import CHANGE_TIMEOUT_SECONDS, Api, Unreachable
from cluster.clusterctl.codes import CRITICAL, DEGRADED, QUORUM_CRITICAL, UNREACHABLE, complain, done

_PAUSE_SECONDS = 0.2
_DAY_SECONDS = 86_400


def drain(asked: argparse.Namespace, api: Api) -> int:
    answer = _post(api, "drain")
    node = answer["node"]
    if asked.wait and not _until(asked.timeout, lambda: api.get("maintenance")["phase"] == "drained"):
        return complain([f"{node} is still draining after {asked.timeout:g} s, and goes on"], CRITICAL)
    return done(asked, f"{node} is {'drained' if asked.wait else answer['phase']}")


def revive(asked: argparse.Namespace, api: Api) -> int:
    return done(asked, f"{_post(api, 'revive')['node']} is in service")


def _post(api: Api, verb: str) -> dict[str, Any]:
    answer: dict[str, Any] = api.post("maintenance", verb, document={}, timeout_seconds=CHANGE_TIMEOUT_SECONDS)
    return answer


def await_ready(asked: argparse.Namespace, api: Api) -> int:
    seen: list[str] = []

    def ready() -> bool:
        seen[:] = []
        try:
            is_ready, line = api.readiness()
        except Unreachable as error:
            seen.extend(error.lines)
            return False
        seen.append(line)
        return is_ready

    if _until(asked.timeout, ready):
        return done(asked, seen[0])
    return complain([f"not ready after {asked.timeout:g} s: {line}" for line in seen], CRITICAL)


def await_quorum_plus_one(asked: argparse.Namespace, api: Api) -> int:
    node, lines, code = "", [""], UNREACHABLE

    def spared() -> bool:
        nonlocal node, lines, code
        try:
            document = api.status()
        except Unreachable as error:
            lines, code = list(error.lines), UNREACHABLE
            return False
        node = asked.node or document["cluster"]["answered_by"]
        lines, code = quorum_critical(document, node), QUORUM_CRITICAL
        return not lines

    if _until(asked.timeout, spared):
        return done(asked, f"every group keeps its quorum if {node} is stopped")
    return complain(lines, code)


def quorum_critical(document: dict[str, Any], node: str) -> list[str]:
    """Why `node` must not be stopped now, one line for each group.

    A group that has no quorum now counts too: stopping one of its voters makes its return later. A cluster of one has
    nobody to take it from.
    """
    if len(document["nodes"]) == 1:
        return []
    lines = []
    for group in document["groups"]:
        if node in group["critical_nodes"]:
            lines.append(f"{group['kind']} group {group['id']} would lose quorum if {node} is stopped")
        elif not group["has_quorum"] and node in [member["node"] for member in group["members"]]:
            lines.append(f"{group['kind']} group {group['id']} has no quorum, and {node} is one of its members")
    return lines


def check_certificates(asked: argparse.Namespace, api: Api) -> int:
    """Of the nodes that answer."""
    lines: list[str] = []
    code = 0
    certified = 0
    for node in api.status()["nodes"]:
        expires_at = node.get("certificate_expires_at")
        if not expires_at:
            continue
        certified += 1
        days = (expires_at - time.time()) / _DAY_SECONDS
        if days < 0:
            lines.append(f"the certificate of {node['name']} expired {-days:.1f} days ago")
            code = CRITICAL
        elif days < asked.within:
            lines.append(f"the certificate of {node['name']} expires in {days:.1f} days")
            code = code or DEGRADED
    if lines:
        return complain(lines, code)
    return done(asked, f"{certified} certificates, none expires within {asked.within:g} days")


def _until(timeout_seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() + _PAUSE_SECONDS > deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True
