"""Where a connection stands, from its protocol header to its end, and what a client may say there.

Law: a connection is in exactly one `ConnectionState`, and a method on channel 0 has its place in one of them, but for
connection.close, which may come whenever input is read.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from cluster.amqp import methods as m
from cluster.amqp.errors import channel_misuse
from cluster.amqp.method import Method


class ConnectionState(Enum):
    """`label` is RabbitMQ's name, which reply texts contain; `reads` says whether input is being parsed.

    In LOGGING_IN and AWAITING_VHOST the broker is to decide, and input is held back. In CLOSING we have sent
    connection.close; in CLIENT_CLOSING the client has, and our close-ok waits for the broker.
    """

    AWAITING_PROTOCOL_HEADER = ("pre_init", True)
    STARTING = ("starting", True)
    LOGGING_IN = ("securing", False)
    TUNING = ("tuning", True)
    OPENING = ("opening", True)
    AWAITING_VHOST = ("opening_vhost", False)
    RUNNING = ("running", True)
    CLOSING = ("closing", True)
    CLIENT_CLOSING = ("client_closing", False)
    CLOSED = ("closed", False)

    def __init__(self, label: str, reads: bool) -> None:
        self.label = label
        self.reads = reads


HOLDING = frozenset({ConnectionState.LOGGING_IN, ConnectionState.AWAITING_VHOST})
"""The broker is to decide; input is kept for later."""
ENDING = frozenset({ConnectionState.CLOSING, ConnectionState.CLIENT_CLOSING, ConnectionState.CLOSED})
"""Nothing is said any more but what belongs to the close."""
_EXPECTED: Final[dict[ConnectionState, type[Method]]] = {
    ConnectionState.STARTING: m.ConnectionStartOk,
    ConnectionState.TUNING: m.ConnectionTuneOk,
    ConnectionState.OPENING: m.ConnectionOpen,
    ConnectionState.RUNNING: m.ConnectionUpdateSecret,
}
"""What a client may say on channel 0 besides connection.close."""


def check_expected(state: ConnectionState, cls: type[Method]) -> None:
    """Raises ConnectionException 504 for a method on channel 0 that has no place in `state`, which reads it."""
    if cls is not m.ConnectionClose and cls is not _EXPECTED[state]:
        text = f"unexpected method in connection state {state.label}"
        raise channel_misuse(text, cls.CLASS_ID, cls.METHOD_ID)
