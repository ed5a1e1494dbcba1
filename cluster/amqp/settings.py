"""What a server offers a client, and what becomes of the client's answer.

Law: a client may lower what was offered, never raise it (AMQP 0-9-1 §4.2.3, connection.tune-ok).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cluster.amqp.constants import FRAME_SIZE_MIN
from cluster.amqp.errors import not_allowed
from cluster.amqp.field_table import FieldTable, FieldValue
from cluster.amqp.login import FAILURE_CLOSE, MECHANISMS
from cluster.amqp.methods import ConnectionTune, ConnectionTuneOk

SERVER_CAPABILITIES: Final[FieldTable] = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "consumer_priorities": True,
    FAILURE_CLOSE: True,
    "per_consumer_qos": True,
    "direct_reply_to": True,
}
CHANNEL_MAX_LIMIT: Final = 65535
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Limits and words of a listener. Raises ValueError on what could not be offered.

    channel_max             highest channel number, 1..65535
    frame_max               octets of a whole frame, at least 4096
    heartbeat               seconds offered; the client's answer counts, 0 is none
    message_size_max        octets of a body; a larger one fails its channel with 406
    unfinished_content_max  octets of incomplete bodies over all channels of a connection; beyond: 506
    server_properties       added to `capabilities` in connection.start
    mechanisms              of PLAIN, AMQPLAIN and EXTERNAL, separated by a space
    """

    channel_max: int = 2047
    frame_max: int = 131072
    heartbeat: int = 60
    message_size_max: int = 128 * MIB
    unfinished_content_max: int = 256 * MIB
    server_properties: Mapping[str, FieldValue] = field(default_factory=dict)
    mechanisms: str = "PLAIN AMQPLAIN"

    def __post_init__(self) -> None:
        if not 1 <= self.channel_max <= CHANNEL_MAX_LIMIT:
            raise ValueError(f"channel_max is 1 to {CHANNEL_MAX_LIMIT}, not {self.channel_max}")
        if not FRAME_SIZE_MIN <= self.frame_max < 2**32:
            raise ValueError(f"frame_max is at least {FRAME_SIZE_MIN}, not {self.frame_max}")
        if not 0 <= self.heartbeat < 2**16:
            raise ValueError(f"heartbeat is 0 to 65535 seconds, not {self.heartbeat}")
        if self.message_size_max < 0 or self.unfinished_content_max < self.message_size_max:
            raise ValueError("unfinished_content_max must hold at least one message of message_size_max")
        if not self.mechanisms.split() or set(self.mechanisms.split()) - set(MECHANISMS):
            raise ValueError(f"mechanisms are some of {' '.join(MECHANISMS)}, not {self.mechanisms!r}")


def check_tune_ok(settings: ConnectionSettings, answer: ConnectionTuneOk) -> None:
    """Raises ConnectionException 530 with RabbitMQ's text when the client asks for more than was offered.

    A heartbeat may be anything.
    """
    _check("frame_max", answer.frame_max, FRAME_SIZE_MIN, settings.frame_max)
    _check("channel_max", answer.channel_max, 1, settings.channel_max)


def _check(name: str, value: int, minimum: int, maximum: int) -> None:
    if value != 0 and value < minimum:
        relation = f"lower than the minimum allowed value ({minimum})"
    elif value == 0 or value > maximum:
        relation = f"higher than the maximum allowed value ({maximum})"
    else:
        return
    detail = " (no limit)" if value == 0 else ""
    raise not_allowed(
        f"negotiated {name} = {value}{detail} is {relation}", ConnectionTune.CLASS_ID, ConnectionTune.METHOD_ID
    )
