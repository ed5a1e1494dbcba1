"""What the broker refuses, in RabbitMQ's words.

Law: a `BrokerError` is the peer's mistake, never ours: it leaves every state as it was, and its `text` is interface
(tested whole). Whoever holds the channel turns it into channel.close or connection.close.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from cluster.amqp.errors import reply_text

ACCESS_REFUSED: Final = 403
NOT_FOUND: Final = 404
RESOURCE_LOCKED: Final = 405
PRECONDITION_FAILED: Final = 406
COMMAND_INVALID: Final = 503
NOT_ALLOWED: Final = 530


class Scope(Enum):
    """What the error closes (AMQP 0-9-1 §1.2: soft errors close the channel, hard errors the connection)."""

    CHANNEL = "channel"
    CONNECTION = "connection"


class BrokerError(Exception):
    """A refusal. `code` is the AMQP reply code, `text` the whole reply text including its prefix.

    The text is as long as the names in it make it; `cluster.amqp.errors` cuts it to what the wire holds.
    """

    def __init__(self, code: int, text: str, scope: Scope = Scope.CHANNEL) -> None:
        super().__init__(code, text, scope)
        self.code = code
        self.text = text
        self.scope = scope

    def __str__(self) -> str:
        return f"{self.code} {self.text}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BrokerError) and self.args == other.args

    def __hash__(self) -> int:
        return hash((self.code, self.text))


def access_refused(detail: str) -> BrokerError:
    return BrokerError(ACCESS_REFUSED, reply_text(ACCESS_REFUSED, detail))


def not_found(detail: str) -> BrokerError:
    return BrokerError(NOT_FOUND, reply_text(NOT_FOUND, detail))


def resource_locked(detail: str) -> BrokerError:
    return BrokerError(RESOURCE_LOCKED, reply_text(RESOURCE_LOCKED, detail))


def precondition_failed(detail: str) -> BrokerError:
    return BrokerError(PRECONDITION_FAILED, reply_text(PRECONDITION_FAILED, detail))


def command_invalid(detail: str) -> BrokerError:
    return BrokerError(COMMAND_INVALID, reply_text(COMMAND_INVALID, detail), Scope.CONNECTION)


def not_allowed(detail: str) -> BrokerError:
    return BrokerError(NOT_ALLOWED, reply_text(NOT_ALLOWED, detail), Scope.CONNECTION)


def exchange_label(vhost: str, name: str) -> str:
    """How RabbitMQ names an exchange in a text."""
    return f"exchange '{name}' in vhost '{vhost}'"


def queue_label(vhost: str, name: str) -> str:
    """How RabbitMQ names a queue in a text."""
    return f"queue '{name}' in vhost '{vhost}'"


def no_exchange(vhost: str, name: str) -> BrokerError:
    return not_found(f"no {exchange_label(vhost, name)}")


def no_queue(vhost: str, name: str) -> BrokerError:
    return not_found(f"no {queue_label(vhost, name)}")


def no_vhost(vhost: str) -> BrokerError:
    return not_allowed(f"vhost {vhost} not found")
