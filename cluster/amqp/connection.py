"""The server's side of one connection: octets in, events out; commands in, octets out.

Law: no clock, no socket, no broker. `receive` and `eof` never raise on anything a peer may send: what is wrong
becomes a close. Once a close is sent, nothing but the close handshake is read or written. A command for a
channel or connection that has meanwhile ended does nothing, since the events and the commands of two parties
cross; a command that could never be right raises RuntimeError.
"""

from __future__ import annotations

from typing import Final

from cluster.amqp import constants as c
from cluster.amqp import events as ev
from cluster.amqp import methods as m
from cluster.amqp.channel import USABLE_STATES
from cluster.amqp.channels import ChannelTable, method_class, method_key, misdirected_frame, unknown_frame
from cluster.amqp.connection_state import ENDING, HOLDING, ConnectionState, check_expected
from cluster.amqp.errors import (
    ChannelException,
    ConnectionException,
    command_invalid,
    frame_error,
    login_refused,
    resource_error,
)
from cluster.amqp.field_table import FieldTable
from cluster.amqp.frames import FRAME_HEAD, content_pieces, method_frame
from cluster.amqp.heartbeat import Heartbeat
from cluster.amqp.login import FAILURE_CLOSE, capabilities_of, read_response, usual_refusal
from cluster.amqp.method import Method
from cluster.amqp.reader import FrameReader
from cluster.amqp.settings import SERVER_CAPABILITIES, ConnectionSettings, check_tune_ok
from cluster.amqp.wire import payload_snippet

HELD_INPUT_SIZE_MAX: Final = 1024 * 1024
"""Octets a client may send ahead while its login or vhost is being looked at; beyond: 506."""
_FRAME_HEAD_SIZE: Final = 7


_CLOSE_IDS: Final = m.ConnectionClose.KEY.to_bytes(4)


class ServerConnection:
    """One client, from its protocol header to the end.

    frame_max, channel_max  negotiated; octets of a whole frame, highest channel number. Some clients take it for the
                            limit of the payload alone, and RabbitMQ lets them; what is sent keeps to it
    heartbeat               negotiated seconds, 0 for none
    client_properties       as sent in start-ok; {} before
    client_capabilities     names of the capabilities the client set to true
    """

    def __init__(self, settings: ConnectionSettings) -> None:
        self.settings = settings
        self.state = ConnectionState.AWAITING_PROTOCOL_HEADER
        self.frame_max = c.HANDSHAKE_FRAME_SIZE_MAX
        self.channel_max = settings.channel_max
        self.client_properties: FieldTable = {}
        self.client_capabilities: frozenset[str] = frozenset()
        self.mechanism = ""
        self._reader = FrameReader()
        self._channels = ChannelTable(settings.message_size_max, settings.unfinished_content_max)
        self._heartbeat = Heartbeat()
        self._output: list[bytes | memoryview] = []
        self._error: ConnectionException | None = None
        self._deaf = False
        """Frame boundaries are lost and a close is sent: all input is dropped until the socket ends."""

    # Octets in.

    def receive(self, data: bytes | bytearray | memoryview) -> list[ev.Event]:
        """What `data`, behind all that came before, means. `data` may be reused afterwards. Never raises."""
        self._heartbeat.heard = True
        if self._deaf:
            return []
        if not self.state.reads:
            return self._hold(data) if self.state in HOLDING else []
        buffer = self._reader.add(data)
        return [] if buffer is None else self._parse(buffer)

    def eof(self) -> list[ev.Event]:
        """The peer's end of the socket is closed."""
        if self.state is ConnectionState.CLOSED:
            return []
        abrupt = self.state not in ENDING
        self._end()
        return [ev.ConnectionClosed(self._error, abrupt)]

    def _hold(self, data: bytes | bytearray | memoryview) -> list[ev.Event]:
        events: list[ev.Event] = []
        if len(self._reader) + len(data) > HELD_INPUT_SIZE_MAX:
            self._reader.clear()
            self._deaf = True
            text = f"more than {HELD_INPUT_SIZE_MAX} octets sent before the connection was open"
            self._fail(resource_error(text), events)
        else:
            self._reader.hold(data)
        return events

    def _parse(self, buffer: bytes) -> list[ev.Event]:
        events: list[ev.Event] = []
        position = 0
        if self.state is ConnectionState.AWAITING_PROTOCOL_HEADER:
            if len(buffer) < len(c.PROTOCOL_HEADER):
                self._reader.keep(buffer, 0, len(c.PROTOCOL_HEADER))
                return events
            position = len(c.PROTOCOL_HEADER)
            self._protocol_header(buffer[:position], events)
        end = len(buffer)
        needed = 0
        while self.state.reads and not self._deaf:
            position = self._channels.runs(buffer, position, events)
            if end - position < _FRAME_HEAD_SIZE:
                needed = _FRAME_HEAD_SIZE
                break
            kind, number, size = FRAME_HEAD.unpack_from(buffer, position)
            after = position + c.FRAME_OVERHEAD + size
            if size <= self.frame_max and after > end:
                needed = c.FRAME_OVERHEAD + size
                break
            try:
                self._frame(kind, number, size, buffer, position, events)
            except ConnectionException as error:
                self._fail(error, events)
            position = after
            if position == end:
                break
        if position > end:
            self._reader.skip = position - end
        elif position < end and not self._deaf and (self.state.reads or self.state in HOLDING):
            self._reader.keep(buffer, position, needed)
        return events

    def _protocol_header(self, header: bytes, events: list[ev.Event]) -> None:
        if header not in c.ACCEPTED_PROTOCOL_HEADERS:
            self._write(c.PROTOCOL_HEADER)
            self._end()
            events.append(ev.ConnectionClosed(None, abrupt=False))
            return
        self.state = ConnectionState.STARTING
        properties: FieldTable = {"capabilities": SERVER_CAPABILITIES, **self.settings.server_properties}
        start = m.ConnectionStart(0, 9, properties, self.settings.mechanisms.encode(), b"en_US")
        self._write(method_frame(0, start.encode()))

    def _frame(self, kind: int, number: int, size: int, buffer: bytes, position: int, events: list[ev.Event]) -> None:
        """One frame, complete unless it is too large. Raises ConnectionException."""
        start = position + _FRAME_HEAD_SIZE
        if size > self.frame_max:
            if self.state is ConnectionState.CLOSING:
                self._deaf = True
                return
            told = self.frame_max - c.FRAME_OVERHEAD
            raise frame_error(f"type {kind}, {payload_snippet(b'')}: {{frame_too_large,{size},{told}}}")
        payload = buffer[start : start + size]
        marker = buffer[start + size]
        if self.state is ConnectionState.CLOSING:
            if marker != c.FRAME_END:
                self._deaf = True
            elif kind == c.FRAME_METHOD and number == 0:
                self._closing_method(payload, events)
            return
        if marker != c.FRAME_END:
            raise frame_error(f"type {kind}, {payload_snippet(payload)}: {{invalid_frame_end_marker,{marker}}}")
        if number == 0:
            self._frame_on_0(kind, payload, events)
        elif self.state is ConnectionState.RUNNING:
            self._write(self._channels.frame(kind, number, payload, events))
        else:
            raise misdirected_frame(kind, payload)

    def _frame_on_0(self, kind: int, payload: bytes, events: list[ev.Event]) -> None:
        match kind:
            case c.FRAME_METHOD:
                self._method(method_class(method_key(payload)), payload, events)
            case c.FRAME_HEARTBEAT if not payload:
                pass
            case c.FRAME_HEADER | c.FRAME_BODY:
                raise misdirected_frame(kind, payload)
            case _:
                raise unknown_frame(kind, payload)

    def _method(self, cls: type[Method], payload: bytes, events: list[ev.Event]) -> None:
        """A method on channel 0, in a state that is neither holding nor ending."""
        check_expected(self.state, cls)
        match cls.decode(payload):
            case m.ConnectionClose() as method:
                self._channels.clear()
                self._reader.clear()
                self.state = ConnectionState.CLIENT_CLOSING
                events.append(ev.ConnectionCloseRequested(method.reply_code, method.reply_text))
            case m.ConnectionStartOk() as method:
                self._start_ok(method, events)
            case m.ConnectionTuneOk() as method:
                self._tune_ok(method)
            case m.ConnectionOpen() as method:
                self.state = ConnectionState.AWAITING_VHOST
                events.append(ev.OpenRequest(method.virtual_host))
            case m.ConnectionUpdateSecret() as method:
                events.append(ev.SecretUpdated(method.new_secret, method.reason))

    def _start_ok(self, method: m.ConnectionStartOk, events: list[ev.Event]) -> None:
        self.client_properties = method.client_properties
        self.client_capabilities = capabilities_of(method.client_properties)
        if method.mechanism not in self.settings.mechanisms.split():
            text = f"unknown authentication mechanism '{method.mechanism}'"
            raise command_invalid(text, method.CLASS_ID, method.METHOD_ID)
        username, password = read_response(method.mechanism, method.response)
        self.mechanism = method.mechanism
        self.state = ConnectionState.LOGGING_IN
        events.append(ev.LoginRequest(method.mechanism, username, password, method.client_properties))

    def _tune_ok(self, method: m.ConnectionTuneOk) -> None:
        check_tune_ok(self.settings, method)
        self.frame_max = method.frame_max
        self.channel_max = self._channels.channel_max = method.channel_max
        self._heartbeat.interval_seconds = method.heartbeat
        self._channels.scanner.set_limits(method.frame_max, self._channels.message_size_max)
        self.state = ConnectionState.OPENING

    def _closing_method(self, payload: bytes, events: list[ev.Event]) -> None:
        if payload == m.ConnectionCloseOk().encode():
            self._end()
            events.append(ev.ConnectionClosed(self._error, abrupt=False))
        elif payload.startswith(_CLOSE_IDS):
            self._output.append(method_frame(0, m.ConnectionCloseOk().encode()))

    def _fail(self, error: ConnectionException, events: list[ev.Event]) -> None:
        self.connection_error(error)
        events.append(ev.ConnectionFailed(error))

    def _end(self) -> None:
        self.state = ConnectionState.CLOSED
        self._channels.clear()
        self._reader.clear()

    # Commands.

    def accept_login(self) -> list[ev.Event]:
        """Answer a LoginRequest with connection.tune. Returns what the client had sent ahead."""
        if not self._deciding(ConnectionState.LOGGING_IN):
            return []
        offer = self.settings
        tune = m.ConnectionTune(offer.channel_max, offer.frame_max, offer.heartbeat)
        self._write(method_frame(0, tune.encode()))
        self.state = ConnectionState.TUNING
        return self._parse(self._reader.take())

    def refuse_login(self, text: str | None = None) -> list[ev.Event]:
        """Answer a LoginRequest with close 403. `text` follows `ACCESS_REFUSED - `; None is RabbitMQ's words.

        For a client without the capability `authentication_failure_close` a connection that ends at this point means
        just that (AMQP 0-9-1 §2.2.4), and some know no other word for it.
        """
        if not self._deciding(ConnectionState.LOGGING_IN):
            return []
        error = login_refused(usual_refusal(self.mechanism) if text is None else text)
        if FAILURE_CLOSE in self.client_capabilities:
            self.connection_error(error)
            return []
        self._end()
        return [ev.ConnectionClosed(error, abrupt=False)]

    def accept_open(self) -> list[ev.Event]:
        """Answer an OpenRequest with open-ok. Returns what the client had sent ahead."""
        if not self._deciding(ConnectionState.AWAITING_VHOST):
            return []
        self._write(method_frame(0, m.ConnectionOpenOk().encode()))
        self.state = ConnectionState.RUNNING
        return self._parse(self._reader.take())

    def accept_secret(self) -> None:
        """Answer a SecretUpdated."""
        self.send(0, m.ConnectionUpdateSecretOk())

    def send(self, channel: int, method: Method) -> None:
        """A method without content. On channel 0 this is for blocked, unblocked and update-secret-ok."""
        if self.may_send(channel):
            self._output.append(method_frame(channel, method.encode()))

    def content(self, channel: int, method_payload: bytes, header_payload: bytes, body: bytes | memoryview) -> None:
        """basic.return, get-ok or a single deliver: method, header and body, cut at frame_max."""
        if self.may_send(channel):
            self._output += content_pieces(channel, method_payload, header_payload, body, self.frame_max)

    def queue_output(self, *frames: bytes | memoryview) -> None:
        """Whole frames made elsewhere (deliveries). The caller asks may_send(channel) before making them."""
        if self.state is ConnectionState.RUNNING:
            self._output.extend(frames)

    def may_send(self, channel: int) -> bool:
        """Whether anything sent on the channel would still go out. Channel 0: whether the connection is running."""
        if self.state is not ConnectionState.RUNNING:
            return False
        if channel == 0:
            return True
        found = self._channels.channels.get(channel)
        return found is not None and found.state in USABLE_STATES

    def channel_error(self, channel: int, error: ChannelException) -> None:
        """Send channel.close and ignore the channel until close-ok.

        Events of this channel that are in the list being worked on are void, and so are later answers on it.
        """
        self._write(self._channels.fail(channel, error))

    def limit_messages(self, size_max: int) -> None:
        """Octets of a body, from now on, whatever the settings say. One that has begun may be larger."""
        self._channels.limit_messages(size_max)

    def judge_channels(self, *, wanted: bool) -> None:
        """Whether channels that are opened from now on wait for `accept_channel`."""
        self._channels.judged = wanted

    def accept_channel(self, channel: int) -> None:
        """Answer a ChannelOpened, where that was left to the broker."""
        self._write(self._channels.accept(channel))

    def close_channel_ok(self, channel: int) -> None:
        """Answer a ChannelClosed."""
        self._write(self._channels.close_ok(channel))

    def connection_error(self, error: ConnectionException) -> None:
        """Send connection.close and ignore everything until close-ok; ConnectionClosed comes with that or eof().

        A peer that sent garbage may never manage either, so the caller sets it a time limit.
        """
        if self.state in ENDING:
            return
        if self.state is ConnectionState.AWAITING_PROTOCOL_HEADER:
            self._error = error
            self._end()
            return
        close = m.ConnectionClose(error.code, error.text, error.class_id, error.method_id)
        self._write(method_frame(0, close.encode()))
        self._error = error
        self._channels.clear()
        self.state = ConnectionState.CLOSING

    def close(self, code: int, text: str) -> None:
        """Close in the server's own name, e.g. 320. `text` goes out as it is, so it brings its prefix."""
        self.connection_error(ConnectionException(code, text))

    def close_ok(self) -> None:
        """Answer a ConnectionCloseRequested. The connection is over; write the output and close the socket."""
        if self.state is ConnectionState.CLIENT_CLOSING:
            self._output.append(method_frame(0, m.ConnectionCloseOk().encode()))
            self._end()

    def _deciding(self, state: ConnectionState) -> bool:
        """Whether `state` still waits for the broker. Raises RuntimeError if it was not asked."""
        if self.state in ENDING:
            return False
        if self.state is not state:
            raise RuntimeError(f"nobody asked: the connection is {self.state.label}, not {state.label}")
        return True

    def _write(self, frames: bytes) -> None:
        if frames and self.state not in ENDING:
            self._output.append(frames)

    @property
    def is_publishing(self) -> bool:
        """Has the client begun a message that is not complete? Asks every channel."""
        return self._channels.is_receiving

    # Octets out and heartbeats.

    @property
    def has_output(self) -> bool:
        return bool(self._output)

    def take_output(self) -> list[bytes | memoryview]:
        """Everything to be written, in order; the caller must write it."""
        output, self._output = self._output, []
        if output:
            self._heartbeat.sent = True
        return output

    @property
    def heartbeat(self) -> int:
        """Negotiated seconds; 0 before tune-ok and when there are none."""
        return self._heartbeat.interval_seconds

    def heartbeat_due(self, now: float) -> bool:
        """Whether to call send_heartbeat(); see `Heartbeat` for how often to ask."""
        return self._heartbeat.due(now)

    def peer_silent(self, now: float) -> bool:
        """Whether the peer counts as dead: close the socket without a word, and call eof()."""
        return self._heartbeat.peer_silent(now)

    def excuse_silence(self) -> None:
        """The caller does not read for now: that nothing is heard says nothing about the peer."""
        self._heartbeat.heard = True

    def send_heartbeat(self) -> None:
        self._write(c.HEARTBEAT_FRAME)
