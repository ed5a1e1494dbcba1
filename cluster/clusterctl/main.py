"""`clusterctl`: the operator's command.

Law: it talks HTTP to any node and needs nothing but the standard library; what it prints without quorum is what the
asked node knows. Exit codes: 0 ok, 1 degraded, 2 critical, 3 no node reachable, 64 wrong usage (wrong credentials
included), 69 stopping the node would cost a quorum.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from cluster.clusterctl.api import Api, ApiError, Node, Unreachable, UrlError, trust
from cluster.clusterctl.arguments import Commands, Parser, add_output, seconds
from cluster.clusterctl.codes import (
    CRITICAL,
    DEGRADED,
    OK,
    QUORUM_CRITICAL,
    UNREACHABLE,
    USAGE,
    UsageError,
    complain,
    done,
    print_document,
    print_lines,
    wants_json,
)
from cluster.clusterctl.maintenance import await_quorum_plus_one, await_ready, check_certificates, quorum_critical
from cluster.clusterctl.views import status_view

_HEALTH_CODES = {"healthy": OK, "degraded": DEGRADED, "no-quorum": CRITICAL}
_CALLER_ERRORS = frozenset({400, 401, 403, 404})
_CLEAR_SCREEN = "\033[H\033[J"


def _parser() -> Parser:
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--url",
        action="append",
        metavar="URL",
        help="admin address of a node; repeated: the first that answers (default CLUSTERCTL_URL or "
        "http://127.0.0.1:15672)",
    )
    common.add_argument("--user", help="(default CLUSTERCTL_USER or guest)")
    common.add_argument("--password", help="(default CLUSTERCTL_PASSWORD or guest)")
    common.add_argument("--ca", metavar="FILE", help="authorities to believe over https (default CLUSTERCTL_CA)")
    common.add_argument("--insecure", action="store_true", help="believe any certificate over https")
    parser = Parser(prog="clusterctl", description="Shows and steers a cluster.", parents=[common])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    status = commands.add_parser("status", parents=[common], help="the cluster at a glance")
    add_output(status, "table", "wide", "json")
    status.add_argument("--watch", action="store_true", help="again and again, with rates")
    status.add_argument("--exit-when-healthy", action="store_true", help="watch until it is healthy")
    status.add_argument("--interval", type=seconds, default=1.0, metavar="SECONDS", help="of --watch (default 1)")

    check = commands.add_parser("check", parents=[common], help="one question, answered by the exit code")
    checks = check.add_subparsers(dest="check", required=True, metavar="CHECK")
    checks.add_parser("ready", parents=[common], help="does the node serve clients? 0 or 2")
    checks.add_parser("alarms", parents=[common], help="does an alarm block publishers? 0 or 1")
    critical = checks.add_parser(
        "quorum-critical", parents=[common], help="would stopping the node cost a quorum? 0 or 69"
    )
    critical.add_argument("node", nargs="?", help="name of the node (default: the one that answers)")
    certificates = checks.add_parser("certs", parents=[common], help="do certificates expire soon? 0, 1, expired: 2")
    certificates.add_argument("--within", type=float, default=30.0, metavar="DAYS", help="what is soon (default 30)")

    wait = commands.add_parser("await", parents=[common], help="until something holds, or the time is over")
    waits = wait.add_subparsers(dest="wait", required=True, metavar="WHAT")
    ready = waits.add_parser("ready", parents=[common], help="the node serves clients: 0, else 2")
    ready.set_defaults(run=await_ready)
    plus_one = waits.add_parser(
        "quorum-plus-one", parents=[common], help="the node can be stopped at no quorum's cost: 0, else 69"
    )
    plus_one.add_argument("node", nargs="?", help="name of the node (default: the one that answers)")
    plus_one.set_defaults(run=await_quorum_plus_one)
    for plain in waits.choices.values():
        add_output(plain)
        plain.add_argument("--timeout", type=seconds, default=60.0, metavar="SECONDS", help="(default 60)")

    leader = commands.add_parser("leader", parents=[common], help="leadership of a group")
    moves = leader.add_subparsers(dest="move", required=True, metavar="MOVE")
    transfer = moves.add_parser("transfer", parents=[common], help="ask the leader of GROUP to hand over to NODE")
    transfer.add_argument("group", type=int, metavar="GROUP")
    transfer.add_argument("node", metavar="NODE")
    for plain in (*checks.choices.values(), transfer):
        add_output(plain)
    Commands(commands, common).add_all()
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of the `clusterctl` command. Returns the exit code."""
    asked = _parser().parse_args(argv)
    environ = os.environ
    urls = getattr(asked, "url", None) or environ.get("CLUSTERCTL_URL", "http://127.0.0.1:15672").split(",")
    try:
        nodes = [Node(url.strip()) for url in urls]
        ca, insecure = getattr(asked, "ca", environ.get("CLUSTERCTL_CA", "")), getattr(asked, "insecure", False)
        api = Api(
            nodes,
            user=getattr(asked, "user", environ.get("CLUSTERCTL_USER", "guest")),
            password=getattr(asked, "password", environ.get("CLUSTERCTL_PASSWORD", "guest")),
            trusted=trust(ca, insecure=insecure) if any(node.is_sealed for node in nodes) else None,
        )
        return _run(asked, api)
    except (UrlError, UsageError) as error:
        return complain([str(error)], USAGE)
    except Unreachable as error:
        return complain([f"unreachable: {line}" for line in error.lines], UNREACHABLE)
    except ApiError as error:
        return complain([str(error)], USAGE if error.status in _CALLER_ERRORS else CRITICAL)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from flushing into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _run(asked: argparse.Namespace, api: Api) -> int:
    match asked.command:
        case "status":
            watch = asked.watch or asked.exit_when_healthy
            return _watch(asked, api) if watch else _show(asked, api.status())
        case "check":
            return _check(asked, api)
        case "leader":
            api.transfer(asked.group, asked.node)
            return done(asked, f"asked the leader of group {asked.group} to hand over to {asked.node}")
        case _:
            code: int = asked.run(asked, api)
            return code


def _show(
    asked: argparse.Namespace, document: dict[str, Any], before: tuple[dict[str, Any], float] | None = None
) -> int:
    if wants_json(asked):
        print_document(document)
    else:
        print_lines(status_view(document, wide=getattr(asked, "output", "") == "wide", before=before))
    return _HEALTH_CODES.get(document["verdict"]["health"], CRITICAL)


def _watch(asked: argparse.Namespace, api: Api) -> int:
    """Until interrupted or, if asked for, healthy. Returns the exit code of what was shown last."""
    clear = _CLEAR_SCREEN if sys.stdout.isatty() and not wants_json(asked) else ""
    code = UNREACHABLE
    shown: tuple[dict[str, Any], float] | None = None
    try:
        while True:
            try:
                document = api.status()
            except Unreachable as error:
                print(clear, end="")
                code = complain([f"unreachable: {line}" for line in error.lines], UNREACHABLE)
                shown = None
            except ApiError as error:
                if error.status in _CALLER_ERRORS:
                    raise
                # A node that waits for its cluster, say: watching is waiting.
                print(clear, end="")
                code = complain([str(error)], CRITICAL)
                shown = None
            else:
                now = time.monotonic()
                print(clear, end="")
                code = _show(asked, document, (shown[0], now - shown[1]) if shown else None)
                shown = document, now
            sys.stdout.flush()
            if asked.exit_when_healthy and code == OK:
                return OK
            time.sleep(asked.interval)
    except KeyboardInterrupt:
        return code


def _check(asked: argparse.Namespace, api: Api) -> int:
    match asked.check:
        case "ready":
            ready, line = api.readiness()
            return done(asked, line) if ready else complain([f"not ready: {line}"], CRITICAL)
        case "alarms":
            alarms = api.status()["alarms"]
            if alarms:
                return complain([f"{alarm['alarm']} alarm on {alarm['node']}" for alarm in alarms], DEGRADED)
            return done(asked, "no alarms")
        case "quorum-critical":
            return _check_quorum_critical(asked, api.status())
        case "certs":
            return check_certificates(asked, api)
        case _:
            raise AssertionError(f"check {asked.check} is parsed but not carried out")


def _check_quorum_critical(asked: argparse.Namespace, document: dict[str, Any]) -> int:
    node = asked.node or document["cluster"]["answered_by"]
    if node not in [member["name"] for member in document["nodes"]]:
        return complain([f"there is no node {node}"], USAGE)
    if len(document["nodes"]) == 1:
        line = f"{node} is the only node: stopping it stops the cluster, and loses no quorum to anyone else"
        return done(asked, line)
    lines = quorum_critical(document, node)
    if lines:
        return complain(lines, QUORUM_CRITICAL)
    return done(asked, f"every group keeps its quorum if {node} is stopped")


if __name__ == "__main__":
    sys.exit(main())
