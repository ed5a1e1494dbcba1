"""Queues and connections: lists, and what can be done to one of them.

Law: a list shows what the nodes answered; deleting and purging name their object whole and ask nothing back.
"""

from __future__ import annotations

import argparse
import time

from cluster.clusterctl.api import CHANGE_TIMEOUT_SECONDS, Api
from cluster.clusterctl.codes import DEGRADED, OK, done, print_document, print_lines, wants_json
from cluster.clusterctl.explain import explain_view, reasons
from cluster.clusterctl.views import connections_view, queues_view


def queues_list(asked: argparse.Namespace, api: Api) -> int:
    queues = api.queues() if asked.vhost is None else api.get("queues", asked.vhost)
    if asked.problem:
        queues = [q for q in queues if not q["leader"] or (q["messages_ready"] and not q["consumers"])]
    if wants_json(asked):
        print_document(queues)
    else:
        print_lines(queues_view(queues))
    return OK


def _vhost_of(asked: argparse.Namespace) -> str:
    """Where the queue is that a verb names."""
    return "/" if asked.vhost is None else str(asked.vhost)


def queues_delete(asked: argparse.Namespace, api: Api) -> int:
    vhost = _vhost_of(asked)
    flags = [name for name, wanted in (("if-empty", asked.if_empty), ("if-unused", asked.if_unused)) if wanted]
    api.delete("queues", vhost, asked.name, query="&".join([f"{flag}=true" for flag in flags]))
    return done(asked, f"deleted queue {asked.name} in vhost {vhost}")


def queues_purge(asked: argparse.Namespace, api: Api) -> int:
    vhost = _vhost_of(asked)
    api.delete("queues", vhost, asked.name, "contents")
    return done(asked, f"purged queue {asked.name} in vhost {vhost}")


def queues_retry(asked: argparse.Namespace, api: Api) -> int:
    vhost = _vhost_of(asked)
    answer = api.post("queues", vhost, asked.name, "retry", document={}, timeout_seconds=CHANGE_TIMEOUT_SECONDS)
    number = answer["retried"]
    return done(asked, f"queue {asked.name} in vhost {vhost} has {number} parked messages ready again")


def connections_list(asked: argparse.Namespace, api: Api) -> int:
    connections = api.connections()
    if wants_json(asked):
        print_document(connections)
    else:
        print_lines(connections_view(connections, now=time.time()))
    return OK


def connections_close(asked: argparse.Namespace, api: Api) -> int:
    api.delete("connections", asked.name, headers={"X-Reason": asked.reason} if asked.reason else None)
    return done(asked, f"closed connection {asked.name}")


def explain_queue(asked: argparse.Namespace, api: Api) -> int:
    queue = api.get("queues", asked.vhost, asked.name)
    found = reasons(queue, api.status())
    if wants_json(asked):
        print_document({"queue": queue, "problems": found})
    else:
        print_lines(explain_view(queue, found))
    return DEGRADED if found else OK
