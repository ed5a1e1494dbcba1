"""The channels of one connection, and what each frame on them means.

Law: `frame` takes frames one by one and carefully, whatever they are; the scanner's runs bypass it and may be
applied only to a channel in OPEN. Both leave the same events. A frame is answered with octets to send (mostly
none) or a ConnectionException; nothing here writes. Unfinished content of all channels together stays within
`unfinished_content_max`.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cluster.amqp import constants as c
from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.channel import CONTENT_STATES, Channel, ChannelState
from cluster.amqp.errors import (
    ChannelException,
    ConnectionException,
    channel_misuse,
    command_invalid,
    frame_error,
    not_allowed,
    not_implemented,
    precondition_failed,
    resource_error,
    unexpected_frame,
)
from cluster.amqp.frames import method_frame
from cluster.amqp.method import Method
from cluster.amqp.scanner import (
    ACK_FRAME_SIZE,
    ACK_KEY,
    CONTENT_HEADER_SIZE_MIN,
    METHOD_HEAD,
    PUBLISH_KEY,
    Scanner,
    single_acks,
)
from cluster.amqp.wire import payload_snippet

_CONTENT_HEAD: Final = Struct(">HHQ")
"""Class, weight, body size."""
_RUN_KEYS: Final = frozenset({PUBLISH_KEY, ACK_KEY})
_PUBLISH_IDS: Final = (m.BasicPublish.CLASS_ID, m.BasicPublish.METHOD_ID)


def unknown_frame(kind: int, payload: bytes) -> ConnectionException:
    """501 for a frame that is nothing we know."""
    return frame_error(f"type {kind}, {payload_snippet(payload)}: unknown_frame")


def misdirected_frame(kind: int, payload: bytes) -> ConnectionException:
    """505 for a good frame on a channel or in a state where its type has no place."""
    return unexpected_frame(f"type {kind}, {payload_snippet(payload)}")


def method_key(payload: bytes) -> int:
    """class_id << 16 | method_id. Raises ConnectionException 501."""
    if len(payload) < 4:
        raise unknown_frame(c.FRAME_METHOD, payload)
    return int.from_bytes(payload[:4])


def method_class(key: int) -> type[Method]:
    """Raises ConnectionException 503 on ids that no method has."""
    cls = m.METHODS.get(key)
    if cls is None:
        raise command_invalid(f"unknown method: class {key >> 16}, method {key & 0xFFFF}", key >> 16, key & 0xFFFF)
    return cls


class ChannelTable:
    """`channel_max` is the highest number a client may open; the limits are the negotiated ones.

    `judged`: the broker has a say before open-ok, which `accept` brings for each channel opened meanwhile.
    """

    __slots__ = (
        "_unaccepted",
        "_unfinished_size",
        "channel_max",
        "channels",
        "judged",
        "message_size_max",
        "scanner",
        "unfinished_content_max",
    )

    def __init__(self, message_size_max: int, unfinished_content_max: int) -> None:
        self.channels: dict[int, Channel] = {}
        self.scanner = Scanner()
        self.channel_max = 0
        self.message_size_max = message_size_max
        self.unfinished_content_max = unfinished_content_max
        self.judged = False
        self._unaccepted: set[int] = set()
        self._unfinished_size = 0

    def limit_messages(self, size_max: int) -> None:
        self.message_size_max = size_max
        self.scanner.set_limits(self.scanner.payload_size_max, size_max)

    def clear(self) -> None:
        self.channels.clear()
        self._unaccepted.clear()
        self._unfinished_size = 0

    @property
    def is_receiving(self) -> bool:
        """Has content begun on a channel that is not complete?"""
        return any(channel.state in CONTENT_STATES for channel in self.channels.values())

    def frame(self, kind: int, number: int, payload: bytes, events: list[ev.Event]) -> bytes:
        """One frame on a channel other than 0. Appends events; returns octets to send.

        Raises ConnectionException.
        """
        channel = self.channels.get(number)
        match kind:
            case c.FRAME_METHOD:
                return self._method(number, channel, payload, events)
            case c.FRAME_HEADER:
                return self._header(channel, payload, events)
            case c.FRAME_BODY:
                return self._body(channel, payload, events)
            case c.FRAME_HEARTBEAT if not payload:
                raise misdirected_frame(kind, payload)
            case _:
                raise unknown_frame(kind, payload)

    def runs(self, buffer: bytes, position: int, events: list[ev.Event]) -> int:
        """Take the publishes and single acks that stand complete at `position`; the position after them."""
        while len(buffer) - position >= ACK_FRAME_SIZE:
            _, number, _, key = METHOD_HEAD.unpack_from(buffer, position)
            if key not in _RUN_KEYS:
                break
            channel = self.channels.get(number)
            if channel is None or channel.state is not ChannelState.OPEN:
                break
            before = position
            last = events[-1] if events else None
            if key == PUBLISH_KEY:
                if type(last) is ev.PublishBatch and last.channel == number:
                    batch = last
                else:
                    batch = ev.PublishBatch(number, [], [], [])
                position = self.scanner.publishes(buffer, before, number, batch.methods, batch.headers, batch.bodies)
                if batch is not last and position != before:
                    events.append(batch)
            else:
                if type(last) is ev.AckBatch and last.channel == number:
                    acks = last
                else:
                    acks = ev.AckBatch(number, [])
                position = single_acks(buffer, before, number, acks.tags)
                if acks is not last and position != before:
                    events.append(acks)
            if position == before:
                break
        return position

    # Methods.

    def _method(self, number: int, channel: Channel | None, payload: bytes, events: list[ev.Event]) -> bytes:
        key = method_key(payload)
        if channel is None:
            return self._open(number, key, payload, events)
        match channel.state:
            case ChannelState.OPEN:
                return self._open_channel_method(channel, key, payload, events)
            case ChannelState.AWAITING_HEADER | ChannelState.AWAITING_BODY:
                raise channel.misplaced()
            case ChannelState.CLIENT_CLOSING:
                if key == m.ChannelOpen.KEY:
                    raise _second_open()
                return b""
            case ChannelState.CLOSING | ChannelState.CLOSING_CROSSED:
                return self._closing_channel_method(channel, key, payload, events)

    def _open(self, number: int, key: int, payload: bytes, events: list[ev.Event]) -> bytes:
        cls = method_class(key)
        if cls is not m.ChannelOpen:
            raise channel_misuse("expected 'channel.open'", cls.CLASS_ID, cls.METHOD_ID)
        cls.decode(payload)
        if number > self.channel_max:
            if len(self.channels) >= self.channel_max:
                raise not_allowed(
                    f"number of channels opened ({len(self.channels)}) has reached the negotiated channel_max"
                    f" ({self.channel_max})"
                )
            raise not_allowed(
                f"channel id {number} is higher than the negotiated channel_max ({self.channel_max})",
                cls.CLASS_ID,
                cls.METHOD_ID,
            )
        self.channels[number] = Channel(number)
        events.append(ev.ChannelOpened(number))
        self._unaccepted.add(number)
        return b"" if self.judged else self.accept(number)

    def _open_channel_method(self, channel: Channel, key: int, payload: bytes, events: list[ev.Event]) -> bytes:
        if key == m.BasicPublish.KEY:
            known = self.scanner.intern(payload)
            if known is None:
                m.BasicPublish.decode(payload)
                raise AssertionError("the scanner refused a publish that decodes")
            channel.begin(known)
            return b""
        cls = method_class(key)
        if not cls.FROM_CLIENT or cls is m.ChannelCloseOk or cls.CLASS_ID == c.CLASS_CONNECTION:
            raise command_invalid("unimplemented method", cls.CLASS_ID, cls.METHOD_ID)
        method = cls.decode(payload)
        match method:
            case m.ChannelOpen():
                raise _second_open()
            case m.ChannelClose():
                self._abandon(channel, ChannelState.CLIENT_CLOSING)
                events.append(ev.ChannelClosed(channel.number, method.reply_code, method.reply_text))
            case m.ChannelFlow(active=False):
                raise not_implemented("active=false", cls.CLASS_ID, cls.METHOD_ID)
            case m.BasicAck(multiple=False):
                last = events[-1] if events else None
                if type(last) is ev.AckBatch and last.channel == channel.number:
                    last.tags.append(method.delivery_tag)
                else:
                    events.append(ev.AckBatch(channel.number, [method.delivery_tag]))
            case _:
                events.append(ev.MethodReceived(channel.number, method))
        return b""

    def _closing_channel_method(self, channel: Channel, key: int, payload: bytes, events: list[ev.Event]) -> bytes:
        if key == m.ChannelCloseOk.KEY:
            del self.channels[channel.number]
        elif key == m.ChannelClose.KEY:
            channel.state = ChannelState.CLOSING_CROSSED
            return method_frame(channel.number, m.ChannelCloseOk().encode())
        elif key == m.ChannelOpen.KEY and channel.state is ChannelState.CLOSING_CROSSED:
            return self._open(channel.number, key, payload, events)
        return b""

    # Content.

    def _header(self, channel: Channel | None, payload: bytes, events: list[ev.Event]) -> bytes:
        if len(payload) < CONTENT_HEADER_SIZE_MIN:
            raise unknown_frame(c.FRAME_HEADER, payload)
        receiving = self._receiving(channel)
        if receiving is None:
            return b""
        class_id, weight, body_size = _CONTENT_HEAD.unpack_from(payload)
        if weight:
            raise receiving.misplaced()
        complete = receiving.take_header(payload, class_id, body_size)
        if body_size > self.message_size_max:
            text = f"message size {body_size} is larger than configured max size {self.message_size_max}"
            error = precondition_failed(text, *_PUBLISH_IDS)
            events.append(ev.ChannelFailed(receiving.number, error))
            return self.fail(receiving.number, error)
        if complete:
            self._finish(receiving, events)
        return b""

    def _body(self, channel: Channel | None, payload: bytes, events: list[ev.Event]) -> bytes:
        receiving = self._receiving(channel)
        if receiving is None:
            return b""
        complete = receiving.take_body(payload)
        self._unfinished_size += len(payload)
        if complete:
            self._finish(receiving, events)
        elif self._unfinished_size > self.unfinished_content_max:
            text = f"more than {self.unfinished_content_max} octets of unfinished content on the connection"
            raise resource_error(text, *_PUBLISH_IDS)
        return b""

    @staticmethod
    def _receiving(channel: Channel | None) -> Channel | None:
        """The channel, if its content frames count; None if they are to be ignored. Raises 505."""
        if channel is None:
            raise unexpected_frame("expected method frame, got non method frame instead")
        if channel.state in CONTENT_STATES:
            return channel
        if channel.state is ChannelState.OPEN:
            raise channel.misplaced()
        return None

    def _finish(self, channel: Channel, events: list[ev.Event]) -> None:
        self._unfinished_size -= channel.unfinished_size
        method, header, body = channel.finish()
        last = events[-1] if events else None
        if type(last) is ev.PublishBatch and last.channel == channel.number:
            last.methods.append(method)
            last.headers.append(header)
            last.bodies.append(body)
        else:
            events.append(ev.PublishBatch(channel.number, [method], [header], [body]))

    # Closing.

    def _abandon(self, channel: Channel, state: ChannelState) -> None:
        self._unfinished_size -= channel.abandon(state)

    def fail(self, number: int, error: ChannelException) -> bytes:
        """Close a channel for `error`: the octets to send, none if it is not there or closing already.

        When the client's own close has come but not been answered, this answers it too.
        """
        channel = self.channels.get(number)
        if channel is None or channel.state in {ChannelState.CLOSING, ChannelState.CLOSING_CROSSED}:
            return b""
        close = m.ChannelClose(error.code, error.text, error.class_id, error.method_id)
        frames = method_frame(number, close.encode())
        if channel.state is ChannelState.CLIENT_CLOSING:
            channel.state = ChannelState.CLOSING_CROSSED
            return frames + method_frame(number, m.ChannelCloseOk().encode())
        self._abandon(channel, ChannelState.CLOSING)
        return frames

    def accept(self, number: int) -> bytes:
        """Answer a channel.open: the octets to send, none if it was answered or the channel has failed meanwhile."""
        channel = self.channels.get(number)
        if number not in self._unaccepted:
            return b""
        self._unaccepted.remove(number)
        if channel is None or channel.state in (ChannelState.CLOSING, ChannelState.CLOSING_CROSSED):
            return b""
        return method_frame(number, m.ChannelOpenOk().encode())

    def close_ok(self, number: int) -> bytes:
        """Answer the client's close: the octets to send, none if there is nothing to answer."""
        channel = self.channels.get(number)
        if channel is None or channel.state is not ChannelState.CLIENT_CLOSING:
            return b""
        del self.channels[number]
        return method_frame(number, m.ChannelCloseOk().encode())


def _second_open() -> ConnectionException:
    return channel_misuse("second 'channel.open' seen", m.ChannelOpen.CLASS_ID, m.ChannelOpen.METHOD_ID)
