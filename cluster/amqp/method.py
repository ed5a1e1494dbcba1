"""What every method class of `methods.py` is.

Law: a method is an immutable value. `decode` accepts exactly the octets of one method frame's payload, class
and method id included, and `encode` gives them back.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Self

from cluster.amqp.errors import ConnectionException, frame_error
from cluster.amqp.field_table import Malformed, MalformedUtf8
from cluster.amqp.wire import erlang_octets


class Method:
    """CLASS_ID and METHOD_ID are the wire's; KEY is class_id << 16 | method_id; NAME is e.g. `queue.declare-ok`.

    FROM_CLIENT and FROM_SERVER say who may send it, SYNCHRONOUS that the sender waits for an answer,
    HAS_CONTENT that a content header and a body follow.
    """

    __slots__ = ()
    CLASS_ID: ClassVar[int]
    METHOD_ID: ClassVar[int]
    KEY: ClassVar[int]
    NAME: ClassVar[str]
    FROM_CLIENT: ClassVar[bool]
    FROM_SERVER: ClassVar[bool]
    SYNCHRONOUS: ClassVar[bool]
    HAS_CONTENT: ClassVar[bool]

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read a method frame's payload, whose ids the caller has matched.

        Raises ConnectionException 501 with RabbitMQ's text: arguments cut short, followed by more octets, or
        with a short string that is not UTF-8.
        """
        try:
            method, end = cls._read(payload)
        except MalformedUtf8:
            raise frame_error("Malformed UTF-8 in shortstr", cls.CLASS_ID, cls.METHOD_ID) from None
        except (Malformed, IndexError, struct.error):
            raise cannot_decode(payload, cls.CLASS_ID, cls.METHOD_ID) from None
        if end != len(payload):
            raise cannot_decode(payload, cls.CLASS_ID, cls.METHOD_ID)
        return method

    @classmethod
    def _read(cls, payload: bytes) -> tuple[Self, int]:
        """The arguments, and the position after them."""
        raise NotImplementedError

    def encode(self) -> bytes:
        """The payload of a method frame. Raises ValueError or struct.error on an argument out of range."""
        raise NotImplementedError


def cannot_decode(payload: bytes, class_id: int, method_id: int) -> ConnectionException:
    """501 for the arguments behind a method's ids."""
    return frame_error(f"cannot decode {erlang_octets(payload[4:132])}", class_id, method_id)
