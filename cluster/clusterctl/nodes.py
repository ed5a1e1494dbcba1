"""The members of the cluster, and letting one go.

Law: nothing is removed that the cluster says it cannot do without; `--wait` ends when the member is one no more.
"""

from __future__ import annotations

import argparse
import time

from cluster.clusterctl.api import Api
from cluster.clusterctl.codes import CRITICAL, complain, done, listed

_PAUSE_SECONDS = 0.5
_COLUMNS = (
    ("ID", "id"),
    ("NODE", "name"),
    ("MEMBER", "membership"),
    ("STATE", "state"),
    ("ROLE", "role"),
    ("ADDRESS", "address"),
    ("GROUPS", "groups"),
    ("LEADS", "leads"),
)


def nodes_list(asked: argparse.Namespace, api: Api) -> int:
    return listed(asked, api.get("cluster", "nodes"), _COLUMNS)


def nodes_remove(asked: argparse.Namespace, api: Api) -> int:
    api.delete("cluster", "nodes", asked.name)
    if not asked.wait:
        return done(asked, f"{asked.name} is to leave: what it holds moves first; see clusterctl nodes")
    deadline = time.monotonic() + asked.timeout
    while asked.name in [node["name"] for node in api.get("cluster", "nodes")]:
        if time.monotonic() >= deadline:
            return complain([f"{asked.name} has not left after {asked.timeout:g} s; it goes on"], CRITICAL)
        time.sleep(_PAUSE_SECONDS)
    return done(asked, f"{asked.name} has left the cluster")
