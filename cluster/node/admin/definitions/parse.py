"""A definitions document as a list of commands, in the order in which they can be carried out.

Law: nothing is proposed before the whole document is understood; what is wrong in it is one error that names the
object. What this broker has no use for is one warning line each, and passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from cluster.broker.catalog import commands as c
from cluster.broker.catalog.access import USER_LIMITS
from cluster.broker.catalog.arguments import read_arguments
from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.exchange_rules import require_exchange_type
from cluster.broker.catalog.policies import NUMBERS, WORDS
from cluster.broker.catalog.queue_arguments import judge_arguments
from cluster.broker.catalog.vhost import VHOST_LIMITS
from cluster.broker.errors import BrokerError, queue_label
from cluster.node.admin.api.bindings import read_binding
from cluster.node.admin.api.exchanges import read_exchange
from cluster.node.admin.api.fields import BadField, Document, field
from cluster.node.admin.api.limits import read_limits
from cluster.node.admin.api.parameters import read_global_parameter
from cluster.node.admin.api.permissions import read_permission, read_topic_permission
from cluster.node.admin.api.policies import read_policy
from cluster.node.admin.api.queues import read_queue
from cluster.node.admin.api.users import read_user
from cluster.node.admin.api.vhosts import read_vhost
from cluster.node.admin.definitions.document import DefinitionsError
from cluster.node.admin.gently import gently

Command: TypeAlias = (
    c.PutVhost
    | c.PutUser
    | c.SetPermissions
    | c.SetTopicPermissions
    | c.PutPolicy
    | c.SetVhostLimit
    | c.SetUserLimit
    | c.PutSetting
    | c.DeclareQueue
    | c.DeclareExchange
    | c.BindQueue
    | c.BindExchange
)
SECTIONS = (
    "vhosts",
    "users",
    "permissions",
    "topic_permissions",
    "global_parameters",
    "parameters",
    "policies",
    "queues",
    "exchanges",
    "bindings",
)
"""In the order in which they are carried out. Bindings need both ends, everything needs its vhost."""
_ABOUT = frozenset(
    {
        "rabbit_version",
        "rabbitmq_version",
        "product_name",
        "product_version",
        "rabbitmq_definition_format",
        "original_cluster_name",
        "original_vhost_name",
        "default_queue_type",
        "description",
        "explanation",
        "metadata",
    }
)
"""Keys that tell of the document itself."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object. `label` names it in a line; `password` is still to be hashed into a PutUser."""

    section: str
    label: str
    command: Command
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Definitions:
    items: tuple[Item, ...]
    warnings: tuple[str, ...]


async def parse(document: object, catalog: Catalog, home: tuple[int, int], vhost: str | None = None) -> Definitions:
    """`vhost`: the document is one vhost's, and its objects name none. `home` as in `read_queue`.

    Raises DefinitionsError.
    """
    if not isinstance(document, dict):
        raise DefinitionsError("definitions must be a JSON object")
    return await _Parser(document, catalog, home, vhost).parse()


class _Parser:
    def __init__(self, document: Document, catalog: Catalog, home: tuple[int, int], vhost: str | None) -> None:
        self._document = document
        self._catalog = catalog
        self._home = home
        self._vhost = vhost
        self._warnings: list[str] = []
        self._vhosts = set(catalog.vhosts)
        self._users = set(catalog.users)
        self._exchanges: set[tuple[str, str]] = set()
        self._queues: set[tuple[str, str]] = set()

    async def parse(self) -> Definitions:
        readers: dict[str, Callable[[Document], Iterable[Item]]] = {
            "vhosts": self._read_vhost,
            "users": self._read_user,
            "permissions": self._read_permission,
            "topic_permissions": self._read_topic_permission,
            "global_parameters": self._read_global_parameter,
            "parameters": self._read_parameter,
            "policies": self._read_policy,
            "queues": self._read_queue,
            "exchanges": self._read_exchange,
            "bindings": self._read_binding,
        }
        if self._vhost is not None:
            for section in ("vhosts", "users", "permissions", "topic_permissions", "global_parameters"):
                if self._document.get(section):
                    self._warn(f"section '{section}' is skipped: these are the definitions of one vhost")
                    del readers[section]
        items: list[Item] = []
        for section in SECTIONS:
            reader = readers.get(section)
            if reader is None:
                continue
            async for number, entry in gently(list(enumerate(self._section(section)))):
                if not isinstance(entry, dict):
                    raise DefinitionsError(f"{section}[{number}] is not an object")
                items += self._guarded(reader, entry, f"{section}[{number}]")
        self._warn_about_the_rest()
        items.sort(key=lambda item: SECTIONS.index(item.section))
        return Definitions(tuple(items), tuple(self._warnings))

    def _section(self, name: str) -> list[Any]:
        entries = self._document.get(name)
        if entries is None:
            return []
        if not isinstance(entries, list):
            raise DefinitionsError(f"'{name}' is not a list")
        return entries

    def _guarded(self, reader: Callable[[Document], Iterable[Item]], entry: Document, place: str) -> list[Item]:
        name = entry.get("name")
        named = f"{place} ('{name}')" if isinstance(name, str) else place
        try:
            return list(reader(entry))
        except BadField as error:
            raise DefinitionsError(f"{named}: {error}") from None
        except BrokerError as error:
            raise DefinitionsError(f"{named}: {explanation(error)}") from None

    def _warn(self, line: str) -> None:
        self._warnings.append(line)

    def _warn_about_the_rest(self) -> None:
        for key in self._document:
            if key not in SECTIONS and key not in _ABOUT:
                self._warn(f"section '{key}' is skipped: unknown")

    # ---- sections

    def _vhost_of(self, entry: Document) -> str:
        """Raises BadField for one that neither the document nor the cluster has."""
        vhost = self._vhost if self._vhost is not None else field(entry, "vhost", str)
        if vhost not in self._vhosts:
            raise BadField(f"there is no vhost '{vhost}'")
        return vhost

    def _user_of(self, entry: Document) -> str:
        user = field(entry, "user", str)
        if user not in self._users:
            raise BadField(f"there is no user '{user}'")
        return user

    def _read_vhost(self, entry: Document) -> Iterable[Item]:
        name = field(entry, "name", str)
        self._vhosts.add(name)
        yield Item("vhosts", f"vhost '{name}'", read_vhost(name, entry, self._catalog.vhosts.get(name)))
        for limit, value in read_limits(_limits(entry), VHOST_LIMITS):
            yield Item("parameters", f"limit '{limit}' of vhost '{name}'", c.SetVhostLimit(name, limit, value))

    def _read_user(self, entry: Document) -> Iterable[Item]:
        name = field(entry, "name", str)
        command, password = read_user(name, entry)
        known = self._catalog.users.get(name)
        if known is not None and not {"password", "password_hash"} & entry.keys():
            command = replace(command, password_hash=known.password_hash)
        self._users.add(name)
        yield Item("users", f"user '{name}'", command, password)
        for limit, value in read_limits(_limits(entry), USER_LIMITS):
            yield Item("parameters", f"limit '{limit}' of user '{name}'", c.SetUserLimit(name, limit, value))

    def _read_permission(self, entry: Document) -> Iterable[Item]:
        user, vhost = self._user_of(entry), self._vhost_of(entry)
        label = f"permissions of user '{user}' on vhost '{vhost}'"
        yield Item("permissions", label, read_permission(user, vhost, entry))

    def _read_topic_permission(self, entry: Document) -> Iterable[Item]:
        user, vhost = self._user_of(entry), self._vhost_of(entry)
        command = read_topic_permission(user, vhost, entry)
        label = f"topic permissions of user '{user}' on exchange '{command.exchange}' in vhost '{vhost}'"
        yield Item("topic_permissions", label, command)

    def _read_global_parameter(self, entry: Document) -> Iterable[Item]:
        name = field(entry, "name", str)
        yield Item("global_parameters", f"global parameter '{name}'", read_global_parameter(name, entry))

    def _read_parameter(self, entry: Document) -> Iterable[Item]:
        """Limits of vhosts and operator policies are parameters in RabbitMQ's documents."""
        component, name = field(entry, "component", str), field(entry, "name", str)
        vhost = self._vhost_of(entry)
        match component:
            case "vhost-limits":
                for limit, value in read_limits(field(entry, "value", dict), VHOST_LIMITS):
                    label = f"limit '{limit}' of vhost '{vhost}'"
                    yield Item("parameters", label, c.SetVhostLimit(vhost, limit, value))
            case "operator_policy":
                yield from self._policy(vhost, name, field(entry, "value", dict), operator=True)
            case _:
                self._warn(
                    f"parameter '{name}' of component '{component}' in vhost '{vhost}' is skipped: not supported"
                )

    def _read_policy(self, entry: Document) -> Iterable[Item]:
        yield from self._policy(self._vhost_of(entry), field(entry, "name", str), entry, operator=False)

    def _policy(self, vhost: str, name: str, entry: Document, *, operator: bool) -> Iterable[Item]:
        label = f"{'operator ' * operator}policy '{name}' in vhost '{vhost}'"
        definition = field(entry, "definition", dict)
        kept = {key: value for key, value in definition.items() if key in NUMBERS or key in WORDS}
        for key in definition:
            if key not in kept:
                self._warn(f"'{key}' of {label} is skipped: not supported")
        if not kept:
            self._warn(f"{label} is skipped: nothing is left of its definition")
            return
        command = read_policy(vhost, name, {**entry, "definition": kept}, operator=operator)
        yield Item("policies", label, command)

    def _read_queue(self, entry: Document) -> Iterable[Item]:
        vhost, name = self._vhost_of(entry), field(entry, "name", str)
        command = read_queue(vhost, name, entry, self._home)
        arguments = read_arguments(command.arguments)
        judge_arguments(queue_label(vhost, name), arguments, arguments.text("x-queue-type") or "classic")
        self._queues.add((vhost, name))
        yield Item("queues", queue_label(vhost, name), command)

    def _read_exchange(self, entry: Document) -> Iterable[Item]:
        vhost, name = self._vhost_of(entry), field(entry, "name", str)
        if not name:
            return
        command = read_exchange(vhost, name, entry)
        require_exchange_type(command.type)
        self._exchanges.add((vhost, name))
        yield Item("exchanges", f"exchange '{name}' in vhost '{vhost}'", command)

    def _read_binding(self, entry: Document) -> Iterable[Item]:
        vhost = self._vhost_of(entry)
        source, destination = field(entry, "source", str), field(entry, "destination", str)
        kind = field(entry, "destination_type", str)
        if kind not in {"queue", "exchange"}:
            raise BadField(f"'destination_type' must be queue or exchange, got {kind!r}")
        if not source:
            return
        self._require_exchange(vhost, source)
        known = self._catalog.vhosts.get(vhost)
        if kind == "exchange":
            self._require_exchange(vhost, destination)
        elif (vhost, destination) not in self._queues and not (known and destination in known.queues):
            raise BadField(f"there is no queue '{destination}' in vhost '{vhost}'")
        command = read_binding(vhost, source, destination, entry, to_queue=kind == "queue")
        label = f"binding '{command.routing_key}' of {kind} '{destination}' to exchange '{source}' in vhost '{vhost}'"
        yield Item("bindings", label, command)

    def _require_exchange(self, vhost: str, name: str) -> None:
        known = self._catalog.vhosts.get(vhost)
        predeclared = name.startswith("amq.")
        if (vhost, name) not in self._exchanges and not (known and name in known.exchanges) and not predeclared:
            raise BadField(f"there is no exchange '{name}' in vhost '{vhost}'")


def _limits(entry: Document) -> Document:
    """RabbitMQ writes no limits as an empty list."""
    limits = entry.get("limits")
    return {} if limits is None or limits == [] else field(entry, "limits", dict)


def explanation(error: BrokerError) -> str:
    """The refusal without the name of its code."""
    return error.text.partition(" - ")[2] or error.text
