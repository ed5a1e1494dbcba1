"""What a node says about itself and, with the answers of the others, about the cluster.

Law: values only, made at once and never changed. Making a `NodeReport` takes no await and no work per queue or per
message: whoever implements it keeps counters. Counters named `_total` only grow while the process lives. Names of
nodes, not ids, so that a reader needs nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

Phase = Literal["starting", "running", "draining", "drained", "left"]
ReplicaRole = Literal["leader", "follower", "candidate", "learner", "repairing", "stopped"]
CATALOG_GROUP = 0


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A Raft group as one of its replicas sees it.

    `leader` is "" while the replica knows none. `match_indexes` is what the leader knows of the others' logs (name ->
    last index that is surely there), `far` are those that lack more of the log than the leader has in memory; both are
    empty on other replicas. `fault` says why a replica takes no part or has no vote (`"being rebuilt from the others:
    group 2: entry 17 does not match its checksum"`), else "".
    """

    id: int
    role: ReplicaRole
    term: int
    leader: str
    commit_index: int
    applied_index: int
    first_index: int
    last_index: int
    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    match_indexes: dict[str, int] = field(default_factory=dict)
    fault: str = ""
    far: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkReport:
    """A node's link to another one that is up. The address is the peer's."""

    peer: str
    host: str
    port: int
    bytes_sent: int
    bytes_received: int


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node as it sees itself. Queues and messages are those of the queues it leads or owns.

    `phase` is what the node does; whether it is ready follows from the groups too (`health.not_ready_reason`).
    `alarms` are the reasons why publishers are blocked: `"memory"`, `"disk"`, `"disk-of-others"`.
    """

    name: str
    pid: int
    version: str
    phase: Phase
    uptime_seconds: float
    amqp_port: int
    http_port: int
    groups: tuple[GroupReport, ...]
    alarms: tuple[str, ...] = ()
    amqps_port: int = 0
    """0 where there is no such listener, as for `amqp_port`."""
    certificate_expires_at: float = 0.0
    """Unix seconds; 0 where there is no certificate."""
    rss_bytes: int = 0
    memory_watermark_bytes: int = 0
    payload_memory_bytes: int = 0
    disk_used_bytes: int = 0
    disk_free_bytes: int = 0
    fsync_p50_seconds: float = 0.0
    fsync_p99_seconds: float = 0.0
    write_rounds_total: int = 0
    written_bytes_total: int = 0
    connections: int = 0
    channels: int = 0
    consumers: int = 0
    queues: int = 0
    messages_ready: int = 0
    messages_unacked: int = 0
    published_total: int = 0
    confirmed_total: int = 0
    delivered_total: int = 0
    acknowledged_total: int = 0
    redelivered_total: int = 0
    returned_total: int = 0
    connections_opened_total: int = 0
    channels_opened_total: int = 0
    disk_free_min_bytes: int = 0
    waiting_for: str = ""
    """What keeps a node from running, where the phase alone does not say it."""
    files_open: int = 0
    files_max: int = 0
    flow: tuple[int, ...] = ()
    """What went through its channels, in the order of `FLOW_WORDS`; nothing from a node that does not know of it."""
    queues_declared_total: int = 0
    queues_created_total: int = 0
    queues_deleted_total: int = 0
    logins_total: int = 0
    """Over AMQP, also those that were refused."""
    logins_refused_total: int = 0
    http_logins_total: int = 0
    http_logins_refused_total: int = 0
    entries_read_total: int = 0
    """Entries of logs that were read back for consumers."""
    processors: int = 0
    threads: int = 0
    threads_max: int = 0
    tasks_runnable: int = 0
    context_switches_total: int = 0
    data_dir: str = ""
    amqp_host: str = ""
    """Where its listeners are, as `http_host` and `peer_host`; "" for all of the machine's addresses."""
    http_host: str = ""
    peer_host: str = ""
    peer_port: int = 0
    links: tuple[LinkReport, ...] = ()
    messages_leaving: int = 0
    """Of the queues it leads, on their way to a dead letter exchange or, from there, to another shard."""
    refused_total: int = 0
    """Messages that were not stored: nacked, or dropped where nobody wants confirms."""
    disk_capacity_bytes: int = 0
    """What its store could hold in all; 0 from a node that does not tell."""
    unconfirmed_bytes_max: int = 0
    """What its clients may have published and unconfirmed in all; 0 from a node that does not tell."""

    @property
    def messages(self) -> int:
        """Ready, unacked and leaving ones."""
        return self.messages_ready + self.messages_unacked + self.messages_leaving


@dataclass(frozen=True, slots=True)
class MemberReport:
    """A member of the cluster as the asked node could learn of it: its own report, or why there is none.

    `address` is `host:port` of its peer listener. `last_seen_seconds` ago it last answered; None if never.
    """

    name: str
    address: str
    report: NodeReport | None
    unreachable_reason: str = ""
    last_seen_seconds: float | None = None
    node: int = 0
    membership: str = "active"
    """As the catalog has it: joining, active, draining, gone."""


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """The cluster as the node `answered_by` sees it. `members` has every member once, itself included.

    `cluster_id` is "" before the cluster is founded.
    """

    cluster_name: str
    cluster_id: str
    answered_by: str
    version: str
    members: tuple[MemberReport, ...]


class QueueCounts(NamedTuple):
    """Of one queue, as its leader counts (`Figures.of`). All are 0 while there is none."""

    ready: int = 0
    unacked: int = 0
    consumers: int = 0
    parked: int = 0
    enqueued: int = 0
    settled: int = 0
    delivered: int = 0
    stirred_ms: int = 0
    """When something happened last, Unix milliseconds."""
    clock_ms: int = 0
    """The leader's time."""
    able_ms: int = 0
    """How long consumers could take at once what came, since the queue has its leader."""
    is_able: int = 0
    """1 if one can now."""
    chosen_node: int = 0
    chosen_consumer: int = 0
    """The consumer that alone is served, `chosen_node` its client's node; 0 and 0 for none."""
    ready_bytes: int = 0
    """Of bodies, as the other `_bytes` but the memory's."""
    unacked_bytes: int = 0
    parked_bytes: int = 0
    ready_in_memory: int = 0
    unacked_in_memory: int = 0
    bytes_in_memory: int = 0
    memory_bytes: int = 0
    head_timestamp: int = 0
    """Of the first message that is ready, in Unix seconds as its publisher says; 0 for none."""
    leaving: int = 0
    """On their way to a dead letter exchange."""

    @property
    def messages(self) -> int:
        """All that are there."""
        return self.ready + self.unacked + self.parked + self.leaving

    @classmethod
    def of(cls, row: Sequence[int]) -> QueueCounts:
        """As a node sent them; what a newer one added is left out."""
        return cls(*row[: len(cls._fields)])


NO_COUNTS: Final = QueueCounts()
"""Of a queue whose leader has not answered."""


@dataclass(frozen=True, slots=True)
class QueueReport:
    """A queue. `group` is None and `members` empty for one that lives on its node alone; `leader` is then that node,
    and "" for a replicated queue whose group has no leader (its counts are then 0). Parked messages came back more
    often than the queue's delivery limit allows, and it has no dead letter exchange; leaving ones are on their way to
    one."""

    name: str
    vhost: str
    durable: bool
    leader: str
    members: tuple[str, ...] = ()
    group: int | None = None
    messages_ready: int = 0
    messages_unacked: int = 0
    consumers: int = 0
    messages_parked: int = 0
    online: tuple[str, ...] = ()
    """Those of `members` that are there."""
    enqueued_total: int = 0
    """Of all time, as `settled_total`; `delivered_total` since the queue has its leader."""
    settled_total: int = 0
    delivered_total: int = 0
    messages_leaving: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """A client's connection. `name` is `"10.0.0.5:40312 -> 10.0.0.7:5672"`; `state` is `running`, `blocked` or
    `closing`; `connected_at` is Unix time in seconds; `client` is what it says it is, such as `"pika 1.3.2"`.
    `peer_host` and `peer_port` are the client's, `host` and `port` ours. `client_properties` is JSON's.
    `ssl_protocol` is such as `"TLSv1.3"`, "" without TLS."""

    name: str
    node: str
    user: str
    vhost: str
    state: str
    channels: int
    connected_at: float
    client: str = ""
    peer_host: str = ""
    peer_port: int = 0
    host: str = ""
    port: int = 0
    channel_max: int = 0
    frame_max: int = 0
    heartbeat_seconds: int = 0
    client_properties: dict[str, Any] = field(default_factory=dict)
    ssl_protocol: str = ""
    id: str = ""
    """Unique over all nodes and their lives."""
    auth_mechanism: str = ""
    recv_oct: int = 0
    """Octets; `_cnt` are reads and writes."""
    recv_cnt: int = 0
    send_oct: int = 0
    send_cnt: int = 0
    send_pend: int = 0
    """Octets that the client's socket has not taken yet."""
    ssl_cipher: str = ""
    """As in RabbitMQ, as `ssl_key_exchange` and `ssl_hash`: `"aes_256_gcm"`, `"ecdhe_rsa"`, `"sha384"`."""
    ssl_key_exchange: str = ""
    ssl_hash: str = ""
    peer_cert_subject: str = ""
    """`"CN=app,O=Example"`; "" of a client without a certificate that the node believes."""
    peer_cert_issuer: str = ""
    peer_cert_validity: str = ""
    """`"2026-01-01T00:00:00Z - 2027-01-01T00:00:00Z"`."""


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """An open channel. A prefetch count of 0 is no limit."""

    connection: str
    number: int
    node: str
    user: str
    vhost: str
    state: str
    confirm: bool
    consumers: int
    messages_unacked: int
    prefetch_count: int
    global_prefetch_count: int
    transactional: bool = False
    messages_unconfirmed: int = 0
    messages_uncommitted: int = 0
    """Published in the open transaction."""
    acks_uncommitted: int = 0
    """Deliveries answered in it."""
    messages_pending: int = 0
    """Published, settled or given back, and not yet in the logs of a majority."""
    idle_since: float = 0.0
    """Unix seconds; 0 of a channel that is in use."""
    flow: tuple[int, ...] = ()
    """See `NodeReport`."""

    @property
    def name(self) -> str:
        return f"{self.connection} ({self.number})"


@dataclass(frozen=True, slots=True)
class ConsumerReport:
    """A consumer, as the node of its connection knows it."""

    queue: str
    vhost: str
    consumer_tag: str
    connection: str
    channel: int
    node: str
    user: str
    ack_required: bool
    exclusive: bool
    prefetch_count: int
    arguments: dict[str, Any] = field(default_factory=dict)
    """JSON's."""
    node_id: int = 0
    number: int = 0
    """Of all consumers of the node; with `node_id` what `QueueCounts` calls it."""


@dataclass(frozen=True, slots=True)
class VhostFlow:
    """What went through a node's connections to a vhost, since the node began. `flow` as in `NodeReport`."""

    vhost: str
    flow: tuple[int, ...]
    recv_oct: int
    send_oct: int


@dataclass(frozen=True, slots=True)
class ExchangeFlow:
    """What a node's clients published to an exchange, and how many copies of that went to queues."""

    vhost: str
    name: str
    publish_in: int
    publish_out: int


@dataclass(frozen=True, slots=True)
class QueueFlow:
    """What a node's clients took from a queue. `flow` as in `NodeReport`."""

    queue: int
    flow: tuple[int, ...]


def encode_report(report: NodeReport) -> bytes:
    """A node's report for another node of the same or a newer version."""
    import msgspec.msgpack

    return msgspec.msgpack.encode(report)


def decode_report(data: bytes) -> NodeReport:
    """Raises ValueError when the bytes are no report; fields that a newer node added are ignored."""
    import msgspec.msgpack

    return msgspec.msgpack.decode(data, type=NodeReport)
