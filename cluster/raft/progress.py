"""What a leader knows of one peer's log, and what it may send to it.

Law: every entry up to `match_index` is durable at the peer and equals the leader's; `next_index` is the
first one not yet sent, above `match_index`. One state at a time: PROBE (where does its log end? one append,
then wait), REPLICATE (appends in flight, as many as the limits allow), SNAPSHOT (its next entry is gone:
chunks, one at a time).
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from cluster.raft.ready import RaftConfig, ReplicaStatus
from cluster.raft.types import LogIndex, SnapshotMeta

_STALLED_REPORTS = 3
"""So many heartbeat replies in a row without any movement mean that what was sent is lost."""
_BYTES_A_REPORT = 256 << 10
"""What was sent gets a heartbeat more for each so many bytes: sent again before it can have arrived, a large entry
would be sent for ever. Busy machines carry a tenth of what they carry else; what did not even leave is told by
`dropped`."""

_TRANSFER_TIMEOUTS = 4
"""A snapshot of which no chunk arrived for so many election timeouts is not waited for."""


class ProgressState(Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One peer. Ticks are the leader's own count since its election."""

    __slots__ = (
        "_config",
        "_inflight",
        "_inflight_bytes",
        "_reported_last",
        "_sent_bytes",
        "_stalled_reports",
        "commit_sent",
        "cursor",
        "cursor_tick",
        "heard_tick",
        "match_index",
        "moved_tick",
        "next_index",
        "probe_sent",
        "round",
        "snapshot",
        "state",
    )

    def __init__(self, config: RaftConfig, next_index: LogIndex, tick: int) -> None:
        self._config = config
        self.state = ProgressState.PROBE
        self.match_index = LogIndex(0)
        self.next_index = next_index
        self.probe_sent = False
        # Last index and data bytes of every append that is not yet acknowledged.
        self._inflight: deque[tuple[LogIndex, int]] = deque()
        self._inflight_bytes = 0
        # The same in bytes, and while the peer is probed too.
        self._sent_bytes = 0
        self.commit_sent = LogIndex(0)
        # A peer counts as heard from when it is first known: it gets an election timeout to answer.
        self.heard_tick = tick
        self.round = 0
        self._reported_last = LogIndex(0)
        self._stalled_reports = 0
        # In SNAPSHOT: which one, from where the chunk under way started, and when it was sent.
        self.snapshot: SnapshotMeta | None = None
        self.cursor = b""
        self.cursor_tick = 0
        # When it was known last to have taken something in, or to have everything.
        self.moved_tick = tick

    def is_active(self, tick: int) -> bool:
        return tick - self.heard_tick < self._config.election_ticks

    def is_receiving(self, tick: int) -> bool:
        """True while a snapshot on the way to the peer moves on."""
        patience = _TRANSFER_TIMEOUTS * self._config.election_ticks
        return self.state is ProgressState.SNAPSHOT and self.is_active(tick) and tick - self.moved_tick < patience

    @property
    def needed_index(self) -> LogIndex:
        """The first entry that the peer may not have, as far as is known; when it has the snapshot that it is sent."""
        if self.snapshot is not None:
            return LogIndex(self.snapshot.index + 1)
        return LogIndex(self.match_index + 1) if self.match_index else self.next_index

    def may_append(self) -> bool:
        match self.state:
            case ProgressState.PROBE:
                return not self.probe_sent
            case ProgressState.REPLICATE:
                return (
                    len(self._inflight) < self._config.max_inflight_appends
                    and self._inflight_bytes < self._config.max_inflight_bytes
                )
            case ProgressState.SNAPSHOT:
                return False

    def has_been_sent(self, index: LogIndex) -> bool:
        """Is everything up to there on its way to a peer that takes appends in?"""
        return self.state is ProgressState.REPLICATE and self.next_index > index

    def sent(self, last_index: LogIndex, size: int) -> None:
        """An append up to `last_index` left, with `size` bytes of entry data."""
        self._sent_bytes += size
        if self.state is ProgressState.PROBE:
            self.probe_sent = True
        else:
            self.next_index = LogIndex(last_index + 1)
            self._inflight.append((last_index, size))
            self._inflight_bytes += size

    def accepted(self, index: LogIndex) -> bool:
        """The peer acknowledged up to `index`; True if that is news."""
        inflight = self._inflight
        while inflight and inflight[0][0] <= index:
            self._inflight_bytes -= inflight.popleft()[1]
        self._stalled_reports = 0
        self._sent_bytes = self._inflight_bytes
        is_news = index > self.match_index
        if is_news:
            self.match_index = index
        match self.state:
            case ProgressState.PROBE:
                if index >= self.next_index - 1:
                    self.state = ProgressState.REPLICATE
            case ProgressState.SNAPSHOT:
                if self.snapshot is not None and index >= self.snapshot.index:
                    self.probe(LogIndex(index + 1))
            case ProgressState.REPLICATE:
                pass
        if index >= self.next_index:
            self.next_index = LogIndex(index + 1)
        return is_news

    def rejected(self, prev_index: LogIndex, hint: LogIndex) -> bool:
        """The peer does not have `prev_index`; the leader's log may match at `hint`. False: an old answer."""
        if self.state is ProgressState.SNAPSHOT or prev_index <= self.match_index:
            return False
        if self.state is ProgressState.PROBE and prev_index != self.next_index - 1:
            return False
        self.probe(LogIndex(max(self.match_index, min(hint, prev_index - 1)) + 1))
        return True

    def probe(self, next_index: LogIndex) -> None:
        self.state = ProgressState.PROBE
        self.next_index = next_index
        self.probe_sent = False
        self._inflight.clear()
        self._inflight_bytes = self._sent_bytes = 0
        self._stalled_reports = 0
        self.snapshot = None

    def dropped(self) -> None:
        """An append did not leave: it goes when the peer has said a few times that nothing came."""
        if self.state is not ProgressState.SNAPSHOT:
            self.probe(self.needed_index)
            self.probe_sent = True

    def connected(self) -> None:
        """A connection ended or began: what was in flight is lost, and the peer may have come back with less."""
        self.probe(self.needed_index)
        self.match_index = LogIndex(0)
        self.commit_sent = LogIndex(0)

    def send_snapshot(self, meta: SnapshotMeta, tick: int) -> None:
        self.probe(self.next_index)
        self.state = ProgressState.SNAPSHOT
        self.snapshot = meta
        self.cursor = b""
        self.moved_tick = tick

    def reported(self, last_index: LogIndex) -> bool:
        """A heartbeat reply says where the peer's log ends. True if appends were lost and it is probed again.

        Heartbeats overtake appends, so one reply proves nothing; several without any movement do.
        """
        if self.state is ProgressState.SNAPSHOT:
            return False
        waiting = self.probe_sent if self.state is ProgressState.PROBE else bool(self._inflight)
        if not waiting or last_index != self._reported_last:
            self._reported_last = last_index
            self._stalled_reports = 0
            return False
        self._stalled_reports += 1
        if self._stalled_reports < _STALLED_REPORTS + self._sent_bytes // _BYTES_A_REPORT:
            return False
        if self.state is ProgressState.REPLICATE and last_index < self.next_index - 1:
            self.probe(LogIndex(self.match_index + 1))
        else:
            # Everything is there and only the answer is missing: ask for it, do not send it all again.
            self.probe(self.next_index)
        return True

    def status(self, tick: int, memory_first: LogIndex) -> ReplicaStatus:
        """`memory_first`: from there on the log is in memory."""
        is_near = self.match_index + 1 >= memory_first
        return ReplicaStatus(self.match_index, self.next_index, self.state.value, self.is_active(tick), is_near)
