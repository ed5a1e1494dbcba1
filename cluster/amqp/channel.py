"""One channel as the frame layer sees it: open or closing, and the content it is in the middle of.

Law: a channel is in exactly one `ChannelState`. Content may begin only in OPEN, and while it is being received
nothing but its own frames may come on this channel (AMQP 0-9-1 §4.2.6). What is gathered never exceeds the
body size that the content header announced, which was checked against the limit before the first octet.
"""

from __future__ import annotations

from enum import Enum

from cluster.amqp.constants import CLASS_BASIC
from cluster.amqp.errors import ConnectionException, frame_error, unexpected_frame
from cluster.amqp.pieces import PIECES_MIN, Octets, Pieces


class ChannelState(Enum):
    """OPEN           methods may come
    AWAITING_HEADER   a basic.publish came
    AWAITING_BODY     its header came, and announced a body that is not complete
    CLOSING           we sent channel.close; everything but close and close-ok is ignored
    CLOSING_CROSSED   likewise, and the client's own close has been answered: it may open the channel again
    CLIENT_CLOSING    the client sent channel.close; our close-ok waits for the broker
    """

    OPEN = 1
    AWAITING_HEADER = 2
    AWAITING_BODY = 3
    CLOSING = 4
    CLOSING_CROSSED = 5
    CLIENT_CLOSING = 6


CONTENT_STATES = frozenset({ChannelState.AWAITING_HEADER, ChannelState.AWAITING_BODY})
USABLE_STATES = CONTENT_STATES | {ChannelState.OPEN, ChannelState.CLIENT_CLOSING}
"""States in which we may still send on the channel."""

_PUBLISH_IDS = (CLASS_BASIC, 40)
_JOIN_EVERY = 1024
"""Body frames gathered before they are joined: a body in tiny frames must not cost a pointer an octet."""
_JOIN_BYTES_MAX = 1 << 20
"""More than this is not joined: the frames were not tiny."""


class Channel:
    """`unfinished_size` is how many octets of the current body have come."""

    __slots__ = ("_joined", "_parts", "body_size", "header", "method", "number", "state", "unfinished_size")

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = ChannelState.OPEN
        self._reset()

    def _reset(self) -> None:
        self.method = b""
        self.header = b""
        self.body_size = 0
        self._joined: list[bytes] = []
        self._parts: list[bytes] = []
        self.unfinished_size = 0

    def abandon(self, state: ChannelState) -> int:
        """Move to a closing state and forget unfinished content; how many octets that was."""
        forgotten = self.unfinished_size
        self.state = state
        self._reset()
        return forgotten

    def begin(self, method: bytes) -> None:
        """A basic.publish came."""
        assert self.state is ChannelState.OPEN
        self.method = method
        self.state = ChannelState.AWAITING_HEADER

    def take_header(self, header: bytes, class_id: int, body_size: int) -> bool:
        """The content header came; whether the content is complete with it. Raises ConnectionException 505."""
        if self.state is not ChannelState.AWAITING_HEADER:
            raise self.misplaced()
        if class_id != CLASS_BASIC:
            raise unexpected_frame(
                f"expected content header for class {CLASS_BASIC}, got one for class {class_id} instead",
                *_PUBLISH_IDS,
            )
        self.header = header
        self.body_size = body_size
        self.state = ChannelState.AWAITING_BODY
        return body_size == 0

    def take_body(self, part: bytes) -> bool:
        """A body frame came; whether the content is complete with it. Raises ConnectionException 501, 505."""
        if self.state is not ChannelState.AWAITING_BODY:
            raise self.misplaced()
        size = self.unfinished_size + len(part)
        if size > self.body_size:
            raise frame_error(
                f"content body of {size} octets or more where the header announced {self.body_size}",
                *_PUBLISH_IDS,
            )
        if part:
            self._parts.append(part)
            if len(self._parts) == _JOIN_EVERY:
                if sum(map(len, self._parts)) > _JOIN_BYTES_MAX:
                    self._joined += self._parts
                else:
                    self._joined.append(b"".join(self._parts))
                self._parts.clear()
        self.unfinished_size = size
        return size == self.body_size

    def finish(self) -> tuple[bytes, bytes, Octets]:
        """The complete content: method payload, header payload, body. The channel is open for the next."""
        assert self.state is ChannelState.AWAITING_BODY
        assert self.unfinished_size == self.body_size
        parts = self._joined + self._parts
        content = self.method, self.header, b"".join(parts) if self.body_size < PIECES_MIN else Pieces(parts)
        self.state = ChannelState.OPEN
        self._reset()
        return content

    def misplaced(self) -> ConnectionException:
        """505 for a frame that is not what this state waits for."""
        match self.state:
            case ChannelState.AWAITING_HEADER:
                text = f"expected content header for class {CLASS_BASIC}, got non content header frame instead"
                return unexpected_frame(text, *_PUBLISH_IDS)
            case ChannelState.AWAITING_BODY:
                text = "expected content body, got non content body frame instead"
                return unexpected_frame(text, *_PUBLISH_IDS)
            case _:
                return unexpected_frame("expected method frame, got non method frame instead")
