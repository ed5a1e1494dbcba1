"""What may be declared, deleted and bound, as far as exchanges go.

Law: pure judgements over one vhost, the same before a command is proposed and when it is applied; what depends on
who asks (permissions) or on names that clients may not use is not here but in `checks`. Texts are RabbitMQ's.
"""

from __future__ import annotations

import re
from typing import Final

from cluster.amqp.field_table import type_name
from cluster.broker.catalog.arguments import (
    Arguments,
    erlang_term,
    read_arguments,
    require_same,
    require_same_arguments,
)
from cluster.broker.catalog.commands import (
    BindExchange,
    BindQueue,
    DeclareExchange,
    DeleteExchange,
    UnbindExchange,
    UnbindQueue,
)
from cluster.broker.catalog.definitions import (
    DEDUPLICATING,
    DELAYED,
    DELAYED_TYPE,
    SPECIAL_TYPES,
    Binding,
    ExchangeDefinition,
)
from cluster.broker.catalog.vhost import Vhost
from cluster.broker.errors import (
    access_refused,
    command_invalid,
    exchange_label,
    no_exchange,
    no_queue,
    precondition_failed,
)
from cluster.broker.routing.hashing import HASH_HEADER, HASH_PROPERTY, PROPERTIES, weight_of
from cluster.broker.routing.headers import X_MATCH_WORDS
from cluster.broker.routing.table import CONSISTENT_HASH, EXCHANGE_TYPES

ALTERNATE: Final = "alternate-exchange"


def require_exchange_type(name: str) -> None:
    """Raises BrokerError (503, connection) for a type that does not exist."""
    if not name:
        raise command_invalid("invalid exchange type ''")
    if name not in EXCHANGE_TYPES and name not in SPECIAL_TYPES:
        raise command_invalid(f"unknown exchange type '{name}'")


def require_not_default(*names: str) -> None:
    """Raises BrokerError (403) for the default exchange: nothing can be done to it by clients."""
    if "" in names:
        raise access_refused("operation not permitted on the default exchange")


def require_not_system(vhost: str, name: str) -> None:
    """Raises BrokerError (403) for the deletion of an exchange that the broker itself declared."""
    if name.startswith("amq."):
        raise access_refused(f"deletion of system {exchange_label(vhost, name)} not allowed")


def judge_declare(vhost: Vhost, command: DeclareExchange) -> ExchangeDefinition | None:
    """The existing exchange if the declaration is the same as its own, None if it is to be made.

    Raises BrokerError: 503 unknown type; 403 default exchange; 406 not the same, or arguments that mean nothing.
    """
    require_exchange_type(command.type)
    require_not_default(command.name)
    existing = vhost.exchanges.get(command.name)
    arguments = read_arguments(command.arguments)
    if existing is None:
        alternate_name(command, arguments)
        if command.type == DELAYED:
            _require_delayed_type(arguments)
        if command.type == DEDUPLICATING:
            cache_limits(arguments)
        if CONSISTENT_HASH in {command.type, arguments.text(DELAYED_TYPE)}:
            _require_one_hash(arguments)
        return None
    label = existing.label
    require_same("type", label, received=command.type, current=existing.type)
    require_same("durable", label, received=command.durable, current=existing.durable)
    require_same("auto_delete", label, received=command.auto_delete, current=existing.auto_delete)
    require_same("internal", label, received=command.internal, current=existing.internal)
    require_same_arguments(label, received=arguments, current=existing.arguments, names=(ALTERNATE, DELAYED_TYPE))
    return existing


def alternate_name(command: DeclareExchange, arguments: Arguments) -> str | None:
    """The alternate exchange asked for. Raises BrokerError (406) if it is not a string."""
    if ALTERNATE not in arguments.values:
        return None
    alternate = arguments.text(ALTERNATE)
    if alternate is None:
        raise precondition_failed(
            f"invalid type '{type_name(arguments.values[ALTERNATE])}' for arg '{ALTERNATE}' in"
            f" {exchange_label(command.vhost, command.name)}"
        )
    return alternate


def _require_delayed_type(arguments: Arguments) -> None:
    """Raises BrokerError: 406 without a type to route by, 503 for one that does not exist."""
    asked = arguments.text(DELAYED_TYPE)
    if asked is None:
        raise precondition_failed(f"Invalid argument, '{DELAYED_TYPE}' must be an existing exchange type")
    if asked in SPECIAL_TYPES:
        raise precondition_failed(f"Invalid argument, '{asked}' can't be used for '{DELAYED_TYPE}'")
    require_exchange_type(asked)


def cache_limits(arguments: Arguments) -> tuple[int, int | None]:
    """Of an exchange that deduplicates: keys remembered, and for how many milliseconds; None is until others follow.

    Raises BrokerError 406 for what is no such limit.
    """
    size, ttl = _positive(arguments, "x-cache-size"), None
    if size is None:
        raise precondition_failed("Missing or invalid argument, 'x-cache-size' must be an integer greater than 0")
    if "x-cache-ttl" in arguments.values:
        ttl = _positive(arguments, "x-cache-ttl")
        if ttl is None:
            raise precondition_failed("Invalid argument, 'x-cache-ttl' must be an integer greater than 0")
    if arguments.values.get("x-cache-persistence", "disk") not in ("disk", "memory"):
        raise precondition_failed("Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'")
    return size, ttl


def _positive(arguments: Arguments, name: str) -> int | None:
    """A whole number above 0, which may be written as text; None for anything else."""
    value = arguments.values.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        value = int(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _require_one_hash(arguments: Arguments) -> None:
    """Raises BrokerError 406 for a hash of nothing, or of two things."""
    if HASH_HEADER in arguments.values and HASH_PROPERTY in arguments.values:
        raise precondition_failed(f"{HASH_HEADER} and {HASH_PROPERTY} are mutually exclusive")
    for name in (HASH_HEADER, HASH_PROPERTY):
        if name in arguments.values and arguments.text(name) is None:
            raise precondition_failed(f"invalid type '{type_name(arguments.values[name])}' for arg '{name}'")
    hashed = arguments.text(HASH_PROPERTY)
    if hashed is not None and hashed not in PROPERTIES:
        raise precondition_failed(f"Unsupported property: {hashed}")


def judge_delete(vhost: Vhost, command: DeleteExchange) -> ExchangeDefinition | None:
    """The exchange to delete, None if there is none.

    Raises BrokerError: 403 default or system exchange; 406 `if_unused` and something is bound to it.
    """
    require_not_default(command.name)
    require_not_system(command.vhost, command.name)
    existing = vhost.exchanges.get(command.name)
    if existing is not None and command.if_unused and vhost.outgoing[command.name]:
        raise precondition_failed(f"{existing.label} in use")
    return existing


def binding_of(command: BindQueue | UnbindQueue | BindExchange | UnbindExchange) -> Binding:
    """The binding a command is about."""
    table = read_arguments(command.arguments).table
    if isinstance(command, BindQueue | UnbindQueue):
        return Binding(command.exchange, True, command.queue, command.routing_key, table)
    return Binding(command.source, False, command.destination, command.routing_key, table)


def judge_bind(vhost: Vhost, binding: Binding) -> bool:
    """Whether the binding is to be made; False if it exists.

    Raises BrokerError: 403 default exchange; 404 an end is missing (the source is named first); 406 arguments that
    a headers exchange cannot follow.
    """
    source = _require_ends(vhost, binding)
    if source.routing_type == CONSISTENT_HASH and weight_of(binding.routing_key) is None:
        if re.fullmatch("[+-]?[0-9]+", binding.routing_key, re.ASCII):
            raise precondition_failed("The binding key must be greater than 0")
        raise precondition_failed(f"The binding key must be an integer: {erlang_term(binding.routing_key)}")
    if source.routing_type == "headers":
        _require_x_match(read_arguments(binding.arguments))
    return binding not in vhost.outgoing[binding.source]


def judge_unbind(vhost: Vhost, binding: Binding) -> bool:
    """Whether there is such a binding to remove, judged before the command is proposed only.

    A missing end is nothing to complain of. Raises BrokerError 403 for the default exchange.
    """
    require_not_default(binding.source)
    if not binding.to_queue:
        require_not_default(binding.destination)
    return binding in vhost.outgoing.get(binding.source, ())


def _require_ends(vhost: Vhost, binding: Binding) -> ExchangeDefinition:
    require_not_default(binding.source)
    if not binding.to_queue:
        require_not_default(binding.destination)
    source = vhost.exchanges.get(binding.source)
    if source is None:
        raise no_exchange(vhost.name, binding.source)
    if binding.to_queue:
        if binding.destination not in vhost.queues:
            raise no_queue(vhost.name, binding.destination)
    elif binding.destination not in vhost.exchanges:
        raise no_exchange(vhost.name, binding.destination)
    return source


def _require_x_match(arguments: Arguments) -> None:
    if "x-match" not in arguments.values:
        return
    word = arguments.values["x-match"]
    if type_name(word) != "longstr":
        raise precondition_failed(
            f"Invalid x-match field type {type_name(word)} (value {erlang_term(word)}); expected longstr"
        )
    if word not in X_MATCH_WORDS:
        raise precondition_failed(
            f"Invalid x-match field value {erlang_term(word)}; expected all, any, all-with-x, or any-with-x"
        )
