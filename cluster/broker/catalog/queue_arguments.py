"""The arguments of a queue: which exist, and what they may say.

Law: arguments that RabbitMQ knows are judged in its order and refused in its words; others are let through, because
clients invent them. A quorum queue refuses those that only classic queues have; a classic queue here can do what
quorum queues can, so it takes theirs too. Both refuse those of streams, which nothing here would heed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

from cluster.amqp.field_table import FieldValue, type_name
from cluster.broker.catalog.arguments import Arguments, erlang_term
from cluster.broker.errors import precondition_failed

PRIORITY_MAX: Final = 255
EXPIRY_MAX_MS: Final = 10 * 365 * 24 * 3_600_000
"""The longest TTL or expiry, in milliseconds: ten years. Clients that delay messages by queues whose TTLs are powers
of two (Celery, NServiceBus) go up to 2**27 seconds."""
QUEUE_TYPES: Final = ("classic", "quorum")
QUEUE_MODES: Final = ("default", "lazy")
CLASSIC_ONLY: Final = ("x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator")
STREAM_ONLY: Final = ("x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size")

INTEGERS: Final = frozenset(("byte", "short", "signedint", "long", "unsignedbyte", "unsignedshort", "unsignedint"))
"""Types that RabbitMQ takes for an integer."""

Judge: TypeAlias = Callable[[FieldValue, Mapping[str, FieldValue]], "str | None"]
"""Of the value, seen with all the others: None if it is good, else the complaint as an Erlang term."""


def _integer(value: FieldValue, _all: Mapping[str, FieldValue]) -> str | None:
    if type_name(value) not in INTEGERS:
        return f'"expected integer, got {type_name(value)}"'
    assert isinstance(value, int)
    return f"{{value_negative,{int(value)}}}" if value < 0 else None


def _ttl(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
    complaint = _integer(value, everything)
    if complaint is None and isinstance(value, int) and value > EXPIRY_MAX_MS:
        return f"{{value_too_large,{int(value)}}}"
    return complaint


def _expires(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
    return "{value_zero,0}" if _is_zero(value) else _ttl(value, everything)


def _group_size(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
    return "{value_zero,0}" if _is_zero(value) else _integer(value, everything)


def _is_zero(value: FieldValue) -> bool:
    return type_name(value) in INTEGERS and value == 0


def _priority(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
    complaint = _integer(value, everything)
    if complaint is None and isinstance(value, int) and value > PRIORITY_MAX:
        return f"{{max_value_exceeded,{int(value)}}}"
    return complaint


def _version(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
    complaint = _integer(value, everything)
    if complaint is None and isinstance(value, int) and value not in {1, 2}:
        return f"\"unsupported queue version '{int(value)}'\""
    return complaint


def _bool(value: FieldValue, _all: Mapping[str, FieldValue]) -> str | None:
    return None if isinstance(value, bool) else _unacceptable(value)


def _string(value: FieldValue, _all: Mapping[str, FieldValue]) -> str | None:
    return None if isinstance(value, str | bytes) and type_name(value) == "longstr" else _unacceptable(value)


def _dead_letter_key(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
    complaint = _string(value, everything)
    if complaint is None and "x-dead-letter-exchange" not in everything:
        return "routing_key_but_no_dlx_defined"
    return complaint


def _queue_mode(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
    complaint = _string(value, everything)
    return f"\"unsupported queue mode '{value!s}'\"" if complaint is None and value not in QUEUE_MODES else complaint


def _queue_type(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
    complaint = _string(value, everything)
    if complaint is None and value not in QUEUE_TYPES:
        return f"\"unsupported queue type '{value if isinstance(value, str) else erlang_term(value)}'\""
    return complaint


def _word(complaint: str, *words: str) -> Judge:
    def judge(value: FieldValue, everything: Mapping[str, FieldValue]) -> str | None:
        wrong = _string(value, everything)
        return complaint if wrong is None and value not in words else wrong

    return judge


def _unacceptable(value: FieldValue) -> str:
    return f"{{unacceptable_type,{type_name(value)}}}"


_JUDGES: Final[Mapping[str, Judge]] = {
    "x-expires": _expires,
    "x-message-ttl": _ttl,
    "x-dead-letter-exchange": _string,
    "x-dead-letter-routing-key": _dead_letter_key,
    "x-dead-letter-strategy": _word("invalid_dlx_strategy", "at-most-once", "at-least-once"),
    "x-max-length": _integer,
    "x-max-length-bytes": _integer,
    "x-max-in-memory-length": _integer,
    "x-max-in-memory-bytes": _integer,
    "x-max-priority": _priority,
    "x-overflow": _word("invalid_overflow", "drop-head", "reject-publish", "reject-publish-dlx"),
    "x-queue-mode": _queue_mode,
    "x-queue-version": _version,
    "x-single-active-consumer": _bool,
    "x-queue-type": _queue_type,
    "x-quorum-initial-group-size": _group_size,
    "x-delivery-limit": _integer,
    "x-consumer-timeout": _expires,
    "x-queue-leader-locator": _word("invalid_queue_locator_arg", "client-local", "balanced", "random", "least-leaders"),
}
"""In RabbitMQ's order (rabbit_amqqueue:declare_args, 3.10); x-consumer-timeout is of later versions."""

_CLASSIC_ORDER: Final = (*_JUDGES, "x-queue-master-locator")
_QUORUM_FIRST: Final = ("x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy", "x-expires")
_QUORUM_LAST: Final = ("x-message-ttl", "x-queue-leader-locator")
COMPARED: Final[Mapping[str, tuple[str, ...]]] = {
    "classic": _CLASSIC_ORDER,
    "quorum": (
        *_QUORUM_FIRST,
        *[name for name in _CLASSIC_ORDER if name not in _QUORUM_FIRST + _QUORUM_LAST],
        *_QUORUM_LAST,
    ),
}
"""By the queue's type: arguments that a redeclaration must repeat, in the order in which RabbitMQ looks at them."""


def judge_arguments(label: str, arguments: Arguments, queue_type: str) -> None:
    """Raises BrokerError (406) for the first argument that is wrong for a queue of that type."""
    values = arguments.values
    if not values:
        return
    if "x-queue-type" in values:
        _judge("x-queue-type", label, values)
    foreign = CLASSIC_ONLY if queue_type == "quorum" else ()
    for name in _JUDGES:
        if name in values and name not in foreign:
            _judge(name, label, values)
    _refuse(foreign, label, values, queue_type)


def refuse_stream_arguments(label: str, arguments: Arguments, queue_type: str) -> None:
    """Raises BrokerError (406). For a queue that is asked for now: an entry of the log may hold one that was taken."""
    _refuse(STREAM_ONLY, label, arguments.values, queue_type)


def _refuse(foreign: Collection[str], label: str, values: Mapping[str, FieldValue], queue_type: str) -> None:
    for name in values:
        if name in foreign:
            raise precondition_failed(f"invalid arg '{name}' for {label} of queue type rabbit_{queue_type}_queue")


def _judge(name: str, label: str, values: Mapping[str, FieldValue]) -> None:
    complaint = _JUDGES[name](values[name], values)
    if complaint is not None:
        raise precondition_failed(f"invalid arg '{name}' for {label}: {complaint}")
