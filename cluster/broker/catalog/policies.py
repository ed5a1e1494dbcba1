"""Policies: settings that operators give to queues and exchanges by name.

Law: of the policies that match, the one with the highest priority holds alone (among equals the first by name), and
likewise of operator policies. A number that both set is the smaller one; of anything else the operator's holds.
What a queue was declared with comes before its policies, except that a number is the smaller one here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cluster.amqp.field_table import FieldValue
from cluster.broker.catalog.access import pattern_matches
from cluster.broker.catalog.commands import PutPolicy, Scalar
from cluster.broker.catalog.definitions import ExchangeDefinition, QueueDefinition
from cluster.broker.errors import precondition_failed

NUMBERS: Final = ("consumer-timeout", "delivery-limit", "expires", "max-length", "max-length-bytes", "message-ttl")
"""Settings that are whole numbers, where the smaller one is the stricter one. Times are in milliseconds."""
NEVER_ZERO: Final = ("consumer-timeout", "expires")
"""Of these, the ones that would take queues and channels away at once."""
WORDS: Final[Mapping[str, tuple[str, ...] | None]] = {
    "alternate-exchange": None,
    "dead-letter-exchange": None,
    "dead-letter-routing-key": None,
    "dead-letter-strategy": ("at-most-once", "at-least-once"),
    "overflow": ("drop-head", "reject-publish", "reject-publish-dlx"),
    "queue-leader-locator": ("client-local", "balanced"),
}
"""Settings that are strings, and what they may say (None: anything)."""
QUEUE_SETTINGS: Final = (*NUMBERS, *[name for name in WORDS if name != "alternate-exchange"])
DECLARED_ONLY: Final = ("max-priority", "single-active-consumer")
"""Settings of a queue that only its arguments can give."""
_ARGUMENTS: Final = {f"x-{key}": key for key in (*QUEUE_SETTINGS, *DECLARED_ONLY)}
APPLY_TO: Final = ("queues", "exchanges", "all", "classic_queues", "quorum_queues")


@dataclass(frozen=True, slots=True)
class Policy:
    """A stored policy. `definition` is sorted by key."""

    name: str
    pattern: str
    apply_to: str
    priority: int
    definition: tuple[tuple[str, Scalar], ...]


def judge_policy(command: PutPolicy) -> None:
    """Raises BrokerError (406) for a policy that says what no queue or exchange understands."""
    if command.apply_to not in APPLY_TO:
        raise precondition_failed(f"apply-to of policy '{command.name}' must be one of {', '.join(APPLY_TO)}")
    if not command.definition:
        raise precondition_failed(f"policy '{command.name}' has an empty definition")
    for key, value in command.definition:
        if key in NUMBERS:
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise precondition_failed(f"'{key}' of policy '{command.name}' must be a whole number >= 0")
        elif key in WORDS:
            words = WORDS[key]
            if not isinstance(value, str):
                raise precondition_failed(f"'{key}' of policy '{command.name}' must be a string")
            if words is not None and value not in words:
                raise precondition_failed(f"'{key}' of policy '{command.name}' must be one of {', '.join(words)}")
        else:
            raise precondition_failed(f"'{key}' of policy '{command.name}' is not a recognised setting")


def refuse_zero_times(command: PutPolicy) -> None:
    """Raises BrokerError (406). For a policy that is asked for now: an entry of the log may hold one that was taken."""
    for key, value in command.definition:
        if key in NEVER_ZERO and value == 0:
            raise precondition_failed(f"'{key}' of policy '{command.name}' must be a whole number > 0")


class Policies:
    """The policies of one vhost. Changed by the catalog's commands alone."""

    __slots__ = ("by_name", "operator_by_name")

    def __init__(self) -> None:
        self.by_name: dict[str, Policy] = {}
        self.operator_by_name: dict[str, Policy] = {}

    def table(self, *, operator: bool) -> dict[str, Policy]:
        return self.operator_by_name if operator else self.by_name

    def matching_queue(self, queue: QueueDefinition, *, operator: bool) -> Policy | None:
        """The policy that holds for a queue."""
        return self._matching(queue.name, queue.type, operator=operator)

    def _matching(self, name: str, queue_type: str, *, operator: bool) -> Policy | None:
        kinds = ("queues", "all", f"{queue_type}_queues")
        return _strongest(self.table(operator=operator).values(), name, kinds)

    def locator(self, name: str, queue_type: str) -> str | None:
        """What they say of where a queue that is not there yet is to be led (`queue-leader-locator`)."""
        return _word(
            "queue-leader-locator",
            [self._matching(name, queue_type, operator=operator) for operator in (False, True)],
        )

    def queue_policy(self, queue: QueueDefinition) -> dict[str, FieldValue]:
        """What both kinds of policies say of a queue together."""
        said: dict[str, FieldValue] = {}
        for operator in (False, True):
            policy = self.matching_queue(queue, operator=operator)
            for key, value in policy.definition if policy is not None else ():
                if key in NUMBERS:
                    _lower(said, key, value)
                else:
                    said[key] = value
        return said

    def matching_exchange(self, exchange: ExchangeDefinition, *, operator: bool) -> Policy | None:
        """The policy that holds for an exchange."""
        return _strongest(self.table(operator=operator).values(), exchange.name, ("exchanges", "all"))

    def queue_settings(self, queue: QueueDefinition) -> dict[str, FieldValue]:
        """What holds for the queue from its arguments and both kinds of policies, without the `x-` in front.

        Keys are of QUEUE_SETTINGS and DECLARED_ONLY; those nothing is said about are absent.
        """
        settings = {key: value for key, value in self.queue_policy(queue).items() if key in QUEUE_SETTINGS}
        for name, argument in queue.arguments.values.items():
            setting = _ARGUMENTS.get(name)
            if setting is None or argument is None:
                continue
            if setting in NUMBERS:
                _lower(settings, setting, argument)
            else:
                settings[setting] = argument
        return settings

    def alternate(self, exchange: ExchangeDefinition) -> str | None:
        """The alternate exchange's name, from the arguments or else the policies."""
        declared = exchange.arguments.text("alternate-exchange")
        if declared is not None:
            return declared
        return _word(
            "alternate-exchange",
            [self.matching_exchange(exchange, operator=operator) for operator in (False, True)],
        )


def _strongest(policies: Iterable[Policy], name: str, kinds: tuple[str, ...]) -> Policy | None:
    best: Policy | None = None
    for policy in policies:
        if policy.apply_to not in kinds:
            continue
        if best is not None and (-policy.priority, policy.name) > (-best.priority, best.name):
            continue
        if pattern_matches(policy.pattern, name):
            best = policy
    return best


def _word(key: str, policies: Iterable[Policy | None]) -> str | None:
    """What the last of these policies that says anything of it says."""
    found: str | None = None
    for policy in policies:
        value = dict(policy.definition).get(key) if policy is not None else None
        found = value if isinstance(value, str) else found
    return found


def _lower(settings: dict[str, FieldValue], key: str, value: FieldValue) -> None:
    known = settings.get(key)
    if isinstance(known, int) and isinstance(value, int):
        settings[key] = min(known, value)
    else:
        settings[key] = value
