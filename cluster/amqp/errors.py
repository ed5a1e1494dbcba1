"""What a peer did wrong, as a value that says which close to send.

Law: `ConnectionException` ends the connection (connection.close), `ChannelException` one channel
(channel.close). Which of the two an error is belongs to the function that makes it, not to its code: 403 ends
a connection at login and a channel afterwards. `text` is what goes on the wire, whole, at most 255 octets.
"""

from __future__ import annotations

from cluster.amqp import constants as c


def reply_text(code: int, explanation: str) -> str:
    """`NAME - explanation`, which is how RabbitMQ words a close."""
    return f"{c.REPLY_NAMES[code]} - {explanation}"


def _fitting(text: str) -> str:
    """Cut to 252 octets and `...` when it would not fit a shortstr, as RabbitMQ does."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= c.REPLY_TEXT_SIZE_MAX:
        return raw.decode()
    return raw[: c.REPLY_TEXT_SIZE_MAX - 3].decode("utf-8", "ignore") + "..."


class AmqpException(Exception):
    """The peer's error. `class_id` and `method_id` name the method that failed, 0 when none did."""

    def __init__(self, code: int, text: str, class_id: int = 0, method_id: int = 0) -> None:
        text = _fitting(text)
        super().__init__(code, text, class_id, method_id)
        self.code = code
        self.text = text
        self.class_id = class_id
        self.method_id = method_id

    def __str__(self) -> str:
        return f"{self.code} {self.text}"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, AmqpException) and other.args == self.args

    def __hash__(self) -> int:
        return hash(self.args)


class ConnectionException(AmqpException):
    """Answered with connection.close (a hard error, AMQP 0-9-1 §2.2.4)."""


class ChannelException(AmqpException):
    """Answered with channel.close; the connection lives on (a soft error)."""


def _connection(code: int, explanation: str, class_id: int, method_id: int) -> ConnectionException:
    return ConnectionException(code, reply_text(code, explanation), class_id, method_id)


def _channel(code: int, explanation: str, class_id: int, method_id: int) -> ChannelException:
    return ChannelException(code, reply_text(code, explanation), class_id, method_id)


# One function per reply: the name is the reply's, the result is the scope RabbitMQ gives it.


def content_too_large(explanation: str, class_id: int = 0, method_id: int = 0) -> ChannelException:
    return _channel(c.CONTENT_TOO_LARGE, explanation, class_id, method_id)


def access_refused(explanation: str, class_id: int = 0, method_id: int = 0) -> ChannelException:
    return _channel(c.ACCESS_REFUSED, explanation, class_id, method_id)


def not_found(explanation: str, class_id: int = 0, method_id: int = 0) -> ChannelException:
    return _channel(c.NOT_FOUND, explanation, class_id, method_id)


def resource_locked(explanation: str, class_id: int = 0, method_id: int = 0) -> ChannelException:
    return _channel(c.RESOURCE_LOCKED, explanation, class_id, method_id)


def precondition_failed(explanation: str, class_id: int = 0, method_id: int = 0) -> ChannelException:
    return _channel(c.PRECONDITION_FAILED, explanation, class_id, method_id)


def login_refused(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    """403 for the whole connection, before it is open."""
    return _connection(c.ACCESS_REFUSED, explanation, class_id, method_id)


def connection_forced(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.CONNECTION_FORCED, explanation, class_id, method_id)


def frame_error(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.FRAME_ERROR, explanation, class_id, method_id)


def syntax_error(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.SYNTAX_ERROR, explanation, class_id, method_id)


def command_invalid(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.COMMAND_INVALID, explanation, class_id, method_id)


def channel_misuse(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    """504 CHANNEL_ERROR, which despite its name ends the connection."""
    return _connection(c.CHANNEL_ERROR, explanation, class_id, method_id)


def unexpected_frame(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.UNEXPECTED_FRAME, explanation, class_id, method_id)


def resource_error(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.RESOURCE_ERROR, explanation, class_id, method_id)


def not_allowed(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.NOT_ALLOWED, explanation, class_id, method_id)


def not_implemented(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.NOT_IMPLEMENTED, explanation, class_id, method_id)


def internal_error(explanation: str, class_id: int = 0, method_id: int = 0) -> ConnectionException:
    return _connection(c.INTERNAL_ERROR, explanation, class_id, method_id)
