"""Do the replicas agree?

Law: the exit code is 0 only if every replica of every group was compared and all are the same.
"""

from __future__ import annotations

import argparse
from typing import Any

from cluster.clusterctl.api import Api
from cluster.clusterctl.codes import CRITICAL, OK, print_document, print_lines, wants_json
from cluster.clusterctl.look import count, table

_DIGEST_DIGITS = 12


def verify(asked: argparse.Namespace, api: Api) -> int:
    document = api.verify()
    if wants_json(asked):
        print_document(document)
    else:
        print_lines(_view(document))
    return OK if document["verdict"] == "agree" else CRITICAL


def _view(document: dict[str, Any]) -> list[str]:
    rows = [
        [str(group["id"]), count(group["index"]), count(group["entries"]), group["verdict"].upper(), _replicas(group)]
        for group in document["groups"]
    ]
    lines = table(
        ("GROUP", "INDEX", "TERMS", "VERDICT", "REPLICAS"), rows, right=frozenset({"GROUP", "INDEX", "TERMS"})
    )
    groups = len(rows)
    verdicts = {
        "agree": f"All replicas of {groups} groups hold the same.",
        "differ": "REPLICAS DIFFER. Keep all data directories, and do not stop any node.",
        "unknown": "Not every replica could be compared.",
    }
    return [*lines, "", verdicts[document["verdict"]]]


def _replicas(group: dict[str, Any]) -> str:
    """One digest when all agree; else whose is which."""
    replicas = group["replicas"]
    if group["verdict"] == "agree":
        names = ", ".join(replica["node"] for replica in replicas)
        return f"{names}: {replicas[0]['digest'][:_DIGEST_DIGITS]}"
    told = "; ".join(
        f"{replica['node']}: {replica['digest'][:_DIGEST_DIGITS] or replica['reason']}" for replica in replicas
    )
    return told + (f"; terms differ at entry {group['conflict']}" if group["conflict"] else "")
