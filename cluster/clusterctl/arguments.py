"""The command line: every command, its arguments, and the function that carries it out.

Law: where a node is and who asks may be said before or after any word of a command. Every command takes --json.
A wrong command line is one line and the code 64.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from cluster.clusterctl import administration as admin
from cluster.clusterctl import definitions, maintenance, nodes, scaling, traffic, verification
from cluster.clusterctl.api import Api
from cluster.clusterctl.codes import USAGE

Run: TypeAlias = Callable[[argparse.Namespace, Api], int]
APPLY_TO = ("queues", "exchanges", "all", "classic_queues", "quorum_queues")


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, with the exit code 64."""

    def error(self, message: str) -> NoReturn:
        print(f"clusterctl: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(USAGE)


def add_output(parser: argparse.ArgumentParser, *choices: str) -> None:
    """-o and --json; where none is given, nothing is said about it in the namespace."""
    parser.add_argument("-o", "--output", choices=choices or ("table", "json"), default=argparse.SUPPRESS)
    parser.add_argument(
        "--json",
        action="store_const",
        const="json",
        dest="output",
        default=argparse.SUPPRESS,
        help="the same as -o json",
    )


def seconds(text: str) -> float:
    """The type of an argument. Raises ArgumentTypeError."""
    given = float(text)
    if not 0.1 <= given <= 3600:
        raise argparse.ArgumentTypeError(f"expected seconds within 0.1..3600, got {text}")
    return given


class Commands:
    """Adds the commands that have a `run`."""

    def __init__(self, commands: argparse._SubParsersAction[Parser], common: Parser) -> None:
        self._commands = commands
        self._common = common

    def add_all(self) -> None:
        self._queues()
        self._connections()
        self._maintenance()
        self._nodes()
        self._verify()
        self._explain()
        self._users()
        self._vhosts()
        self._permissions()
        self._policies()
        self._limits()
        self._definitions()

    def _noun(self, name: str, text: str) -> argparse._SubParsersAction[Parser]:
        noun = self._commands.add_parser(name, parents=[self._common], help=text)
        return noun.add_subparsers(dest="verb", required=True, metavar="VERB")

    def _verb(
        self, verbs: argparse._SubParsersAction[Parser], name: str, run: Run, text: str, *arguments: str
    ) -> Parser:
        verb = verbs.add_parser(name, parents=[self._common], help=text)
        add_output(verb)
        for argument in arguments:
            verb.add_argument(argument, metavar=argument.upper())
        verb.set_defaults(run=run)
        return verb

    def _listing(self, name: str, run: Run, text: str) -> tuple[Parser, argparse._SubParsersAction[Parser]]:
        """A noun that alone is a list."""
        noun = self._commands.add_parser(name, parents=[self._common], help=text)
        add_output(noun)
        noun.set_defaults(run=run)
        verbs = noun.add_subparsers(dest="verb", metavar="VERB")
        self._verb(verbs, "list", run, text)
        return noun, verbs

    def _verify(self) -> None:
        verify = self._commands.add_parser(
            "verify", parents=[self._common], help="do all replicas of every group hold the same? 0 or 2"
        )
        add_output(verify)
        verify.set_defaults(run=verification.verify)

    def _queues(self) -> None:
        noun, verbs = self._listing("queues", traffic.queues_list, "every queue")
        problem = "only those without a leader or a needed consumer"
        noun.add_argument("--problem", action="store_true", help=problem)
        noun.add_argument("--vhost", "-p", metavar="VHOST", help="only those of this vhost, or the queue's (default /)")
        # What is said before the verb counts, too: the verbs have no defaults of their own.
        listing = verbs.choices["list"]
        listing.add_argument("--problem", action="store_true", default=argparse.SUPPRESS, help=problem)
        delete = self._verb(verbs, "delete", traffic.queues_delete, "delete a queue with its messages", "name")
        purge = self._verb(verbs, "purge", traffic.queues_purge, "drop the ready messages of a queue", "name")
        retry = self._verb(verbs, "retry", traffic.queues_retry, "try parked messages of a queue again", "name")
        for verb in (listing, delete, purge, retry):
            verb.add_argument("--vhost", "-p", default=argparse.SUPPRESS, metavar="VHOST")
        delete.add_argument("--if-empty", action="store_true")
        delete.add_argument("--if-unused", action="store_true")

    def _connections(self) -> None:
        _, verbs = self._listing("connections", traffic.connections_list, "every client connection")
        close = self._verb(verbs, "close", traffic.connections_close, "close one, with AMQP's code 320", "name")
        close.add_argument("--reason", help="told to the client")

    def _maintenance(self) -> None:
        drain = self._verb(self._commands, "drain", maintenance.drain, "take the node out of service, for a stop")
        drain.add_argument("--wait", action="store_true", help="until it leads nothing and clients are told: 0, else 2")
        drain.add_argument("--timeout", type=seconds, default=90.0, metavar="SECONDS", help="of --wait (default 90)")
        self._verb(self._commands, "revive", maintenance.revive, "put a drained node back into service")

    def _nodes(self) -> None:
        _, verbs = self._listing("nodes", nodes.nodes_list, "every member of the cluster")
        text = "let a member go; refused where a quorum is at risk"
        remove = self._verb(verbs, "remove", nodes.nodes_remove, text, "name")
        remove.add_argument("--wait", action="store_true", help="until it is a member no more: 0, else 2")
        remove.add_argument("--timeout", type=seconds, default=600.0, metavar="SECONDS", help="of --wait (default 600)")
        text = "down to COUNT nodes, the highest ordinals first: 0, refused: 69, not in time: 2"
        scale = self._verb(verbs, "scale", scaling.nodes_scale, text)
        scale.add_argument("count", type=_count, metavar="COUNT")
        scale.add_argument(
            "--timeout", type=seconds, default=600.0, metavar="SECONDS", help="for each node (default 600)"
        )

    def _explain(self) -> None:
        verbs = self._noun("explain", "why something is as it is: 0 when nothing is wrong, else 1")
        _vhost(self._verb(verbs, "queue", traffic.explain_queue, "one queue", "name"))

    def _users(self) -> None:
        verbs = self._noun("users", "who may log in")
        self._verb(verbs, "list", admin.users_list, "every user")
        add = self._verb(verbs, "add", admin.users_add, "a new user; the password also from stdin", "name")
        add.add_argument("new_password", nargs="?", metavar="PASSWORD")
        add.add_argument("--tags", nargs="+", default=[], metavar="TAG", help="administrator, monitoring, ...")
        self._verb(verbs, "delete", admin.users_delete, "delete a user", "name")
        password = self._verb(verbs, "password", admin.users_password, "another password; also from stdin", "name")
        password.add_argument("new_password", nargs="?", metavar="PASSWORD")
        tags = self._verb(verbs, "tags", admin.users_tags, "these tags and no others", "name")
        tags.add_argument("tags", nargs="*", metavar="TAG")

    def _vhosts(self) -> None:
        verbs = self._noun("vhosts", "virtual hosts")
        self._verb(verbs, "list", admin.vhosts_list, "every vhost")
        add = self._verb(verbs, "add", admin.vhosts_add, "a new vhost, on which you get all permissions", "name")
        add.add_argument("--description")
        add.add_argument("--tags", nargs="+", default=[], metavar="TAG")
        add.add_argument("--default-queue-type", choices=("classic", "quorum"))
        self._verb(verbs, "delete", admin.vhosts_delete, "delete a vhost with everything in it", "name")

    def _permissions(self) -> None:
        verbs = self._noun("permissions", "what users may do with queues and exchanges")
        _every_vhost(self._verb(verbs, "list", admin.permissions_list, "all permissions"))
        patterns = ("name", "configure", "write", "read")
        _vhost(self._verb(verbs, "set", admin.permissions_set, "three regular expressions", *patterns))
        _vhost(self._verb(verbs, "clear", admin.permissions_clear, "take them away", "name"))
        verbs = self._noun("topic-permissions", "what users may publish to and bind on topic exchanges")
        _every_vhost(self._verb(verbs, "list", admin.topic_permissions_list, "all topic permissions"))
        patterns = ("name", "exchange", "write", "read")
        _vhost(self._verb(verbs, "set", admin.topic_permissions_set, "two regular expressions", *patterns))
        clear = self._verb(verbs, "clear", admin.topic_permissions_clear, "take them away", "name")
        clear.add_argument("--exchange", help="those on this exchange only")
        _vhost(clear)

    def _policies(self) -> None:
        verbs = self._noun("policies", "settings of queues and exchanges by name")
        listing = self._verb(verbs, "list", admin.policies_list, "all policies")
        _every_vhost(listing)
        put = self._verb(
            verbs, "set", admin.policies_set, "a policy; DEFINITION is JSON", "name", "pattern", "definition"
        )
        put.add_argument("--priority", type=int, default=0)
        put.add_argument("--apply-to", choices=APPLY_TO, default="all")
        _vhost(put)
        delete = self._verb(verbs, "delete", admin.policies_delete, "delete a policy", "name")
        _vhost(delete)
        for verb in (listing, put, delete):
            verb.add_argument("--operator", action="store_true", help="operator policies")

    def _limits(self) -> None:
        verbs = self._noun("limits", "max-connections, and max-queues of vhosts or max-channels of users")
        self._verb(verbs, "list", admin.limits_list, "all limits that are set")
        for name, run, text in (
            ("set", admin.limits_set, "set a limit"),
            ("clear", admin.limits_clear, "take a limit away"),
        ):
            verb = verbs.add_parser(name, parents=[self._common], help=text)
            add_output(verb)
            verb.add_argument("of", choices=("vhost", "user"))
            verb.add_argument("name", metavar="NAME")
            verb.add_argument("limit", metavar="LIMIT")
            if name == "set":
                verb.add_argument("value", type=int, metavar="VALUE")
            verb.set_defaults(run=run)

    def _definitions(self) -> None:
        verbs = self._noun("definitions", "everything that is declared, as one JSON document")
        export = self._verb(verbs, "export", definitions.export, "to a file, or stdout")
        export.add_argument("file", nargs="?", default="-", metavar="FILE")
        load = self._verb(verbs, "import", definitions.load, "from a file (- for stdin); deletes nothing", "file")
        load.add_argument("--dry-run", action="store_true", help="only show what would change")
        diff = self._verb(verbs, "diff", definitions.diff, "what an import would change: 0 nothing, else 1", "file")
        for verb in (export, load, diff):
            verb.add_argument("--vhost", metavar="VHOST", help="the definitions of one vhost")


def _count(text: str) -> int:
    """The type of an argument. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a number of nodes, got {text}")
    return int(text)


def _vhost(parser: Parser) -> None:
    parser.add_argument("--vhost", "-p", default="/", metavar="VHOST", help="(default /)")


def _every_vhost(parser: Parser) -> None:
    parser.add_argument("--vhost", "-p", metavar="VHOST", help="only those of this vhost")
