"""What can be set on a node.

Law: every option that exists is used by the assembly; a value inside a `NodeConfig` that `load` returned has
been checked. Sizes are bytes, times are seconds. The metadata of a field is what `clusterd --help` and the
checks read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from cluster.node.config.memory import available_memory
from cluster.node.config.peers import NODE_NAME, PeerSpec, natural_order, parse_peer

KIB, MIB = 2**10, 2**20
BYTES = {"unit": "bytes"}
WILDCARD_HOSTS = frozenset({"", "0.0.0.0", "::"})

SHARDS_MAX = 256
Port = Annotated[int, Meta(ge=1, le=65535)]


class Section(Struct, frozen=True, kw_only=True):
    """One table of the configuration file."""


class NodeSection(Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(pattern=NODE_NAME, description="this node's name, unique and lasting")]
    data_dir: Annotated[str, Meta(min_length=1, description="directory of everything this node keeps")]
    drain_timeout_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="how long a stopping node may take to hand over its work")
    ] = 90.0


class AmqpSection(Section, frozen=True, kw_only=True):
    host: Annotated[str, Meta(description="address of the AMQP listener")] = "0.0.0.0"
    port: Annotated[int, Meta(ge=0, le=65535, description="port of the AMQP listener; 0 for none")] = 5672
    tls_port: Annotated[
        int, Meta(ge=0, le=65535, description="port of the AMQPS listener, where there is a tls.cert; 0 for none")
    ] = 5671
    proxy_protocol: Annotated[
        bool, Meta(description="do AMQP clients come through proxies that send the PROXY protocol, 1 or 2?")
    ] = False
    heartbeat_seconds: Annotated[
        int, Meta(ge=0, le=65535, description="heartbeat proposed to clients; 0 proposes none")
    ] = 60
    frame_max: Annotated[
        int, Meta(ge=4096, le=16 * MIB, description="largest frame offered to clients", extra=BYTES)
    ] = 128 * KIB
    channel_max: Annotated[int, Meta(ge=1, le=65535, description="channels a connection may open")] = 2047
    message_size_max: Annotated[
        int,
        Meta(
            ge=1, le=128 * MIB, description="largest message accepted; less where a node has a small store", extra=BYTES
        ),
    ] = 16 * MIB
    busy_poll_microseconds: Annotated[
        int, Meta(ge=0, le=1000, description="look-out for clients before a node sleeps, where that pays; 0: none")
    ] = 50


class HttpSection(Section, frozen=True, kw_only=True):
    host: Annotated[str, Meta(description="address of the admin listener")] = "0.0.0.0"
    port: Annotated[Port, Meta(description="port of the admin listener")] = 15672
    tls: Annotated[bool, Meta(description="HTTPS in the place of HTTP")] = False


class PeerSection(Section, frozen=True, kw_only=True):
    host: Annotated[str, Meta(description="address of the listener for other nodes")] = "0.0.0.0"
    port: Annotated[Port, Meta(description="port of the listener for other nodes")] = 25672
    advertise: Annotated[
        str, Meta(description="host:port at which other nodes reach this one; empty: as cluster.peers names it")
    ] = ""
    tls: Annotated[bool, Meta(description="TLS between nodes, each proving itself by a certificate of tls.ca")] = False
    tls_optional: Annotated[
        bool, Meta(description="let in nodes with and without TLS, while peer.tls is changed one node after the other")
    ] = False


class TlsSection(Section, frozen=True, kw_only=True):
    cert: Annotated[str, Meta(description="file of this node's certificate and what leads to its authority, PEM")] = ""
    key: Annotated[str, Meta(description="file of its private key, PEM")] = ""
    ca: Annotated[str, Meta(description="file of the authorities that clients and nodes are certified by, PEM")] = ""
    verify: Annotated[
        Literal["none", "optional", "required"], Meta(description="whether AMQPS clients show a certificate of tls.ca")
    ] = "none"


class ClusterSection(Section, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=255, description="name shown to clients")] = "cluster-mq"
    peers: Annotated[
        list[str], Meta(max_length=64, description="members to found with or to join, name=host:port each")
    ] = field(default_factory=list)
    may_found: Annotated[
        bool, Meta(description="may this node found a cluster, or take part in its founding? false: it only joins one")
    ] = True
    rejoin: Annotated[
        bool, Meta(description="does a node that was let go and starts again drop its old data, and join anew?")
    ] = False
    secret: Annotated[str, Meta(description="shared by all nodes; proves that a peer belongs here")] = ""
    secret_file: Annotated[str, Meta(description="file that holds the secret instead")] = ""
    shards: Annotated[int, Meta(ge=1, le=SHARDS_MAX, description="queue groups; fixed when the cluster is founded")] = 8

    def __repr__(self) -> str:
        return (
            f"ClusterSection(name={self.name!r}, peers={self.peers!r}, may_found={self.may_found!r}, "
            f"rejoin={self.rejoin!r}, secret=***, shards={self.shards!r})"
        )


class AuthSection(Section, frozen=True, kw_only=True):
    default_user: Annotated[
        str, Meta(min_length=1, max_length=255, description="user made when the cluster is founded")
    ] = "guest"
    default_password: Annotated[str, Meta(min_length=1, description="that user's password")] = "guest"

    @property
    def loopback_only(self) -> bool:
        """Whether the default user may log in over loopback only: as guest with the known password."""
        return self.default_user == "guest" and self.default_password == "guest"

    def __repr__(self) -> str:
        return f"AuthSection(default_user={self.default_user!r}, default_password=***)"


class DefinitionsSection(Section, frozen=True, kw_only=True):
    load: Annotated[
        str, Meta(description="definitions in JSON, as exported, carried out at every start before clients are served")
    ] = ""


class RaftSection(Section, frozen=True, kw_only=True):
    tick_seconds: Annotated[float, Meta(ge=0.005, le=1, description="consensus clock")] = 0.05
    heartbeat_ticks: Annotated[
        int, Meta(ge=1, le=100, description="ticks between heartbeats; twice as many while a group is quiet")
    ] = 2
    election_ticks: Annotated[
        int, Meta(ge=3, le=1000, description="ticks of silence before an election; at least 3 heartbeats")
    ] = 10
    retention_ticks: Annotated[
        int, Meta(ge=0, le=1_000_000, description="ticks for which a leader keeps its log for who takes nothing in")
    ] = 1200


class LimitsSection(Section, frozen=True, kw_only=True):
    """Budgets of one node. Beyond one, the node stops reading from whoever causes it."""

    payload_memory_max: Annotated[
        int,
        Meta(ge=MIB, description="message payloads kept in memory; others are read from the log", extra=BYTES),
    ] = 64 * MIB
    connection_outgoing_max: Annotated[
        int, Meta(ge=64 * KIB, description="bytes on their way to one client", extra=BYTES)
    ] = 4 * MIB
    connection_unconfirmed_max: Annotated[
        int, Meta(ge=64 * KIB, description="published and not yet confirmed bytes of one client", extra=BYTES)
    ] = 16 * MIB
    consumer_timeout_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=2_592_000,
            description="how long a client may hold a delivery unanswered, unless x-consumer-timeout says; 0: for ever",
        ),
    ] = 1800.0
    shard_inflight_max: Annotated[
        int, Meta(ge=MIB, description="proposed and not yet committed bytes of one shard", extra=BYTES)
    ] = 32 * MIB
    link_outbox_max: Annotated[int, Meta(ge=MIB, description="bytes waiting to go to one other node", extra=BYTES)] = (
        64 * MIB
    )
    memory_watermark: Annotated[
        int,
        Meta(ge=0, description="resident bytes that block publishers; 0: 60% of what there is", extra=BYTES),
    ] = 0
    disk_free_min: Annotated[
        int, Meta(ge=0, description="free bytes of the disk below which publishers are blocked", extra=BYTES)
    ] = 256 * MIB
    store_size_max: Annotated[
        int, Meta(ge=0, description="data that the store may hold; 0: what the disk has", extra=BYTES)
    ] = 0


class LogSection(Section, frozen=True, kw_only=True):
    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least serious level that is written")
    ] = "info"
    format: Annotated[Literal["logfmt", "json"], Meta(description="shape of a line on stderr")] = "logfmt"


class NodeConfig(Struct, frozen=True, kw_only=True):
    """Everything a node is told. Made by `load`, or directly in tests."""

    node: NodeSection
    amqp: AmqpSection = field(default_factory=AmqpSection)
    http: HttpSection = field(default_factory=HttpSection)
    peer: PeerSection = field(default_factory=PeerSection)
    tls: TlsSection = field(default_factory=TlsSection)
    cluster: ClusterSection = field(default_factory=ClusterSection)
    auth: AuthSection = field(default_factory=AuthSection)
    definitions: DefinitionsSection = field(default_factory=DefinitionsSection)
    raft: RaftSection = field(default_factory=RaftSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    log: LogSection = field(default_factory=LogSection)

    @property
    def data_dir(self) -> Path:
        return Path(self.node.data_dir)

    @property
    def members(self) -> tuple[PeerSpec, ...]:
        """All members to start with, this node included, in the order every node agrees on (`peers`)."""
        specs = {spec.name: spec for spec in map(parse_peer, self.cluster.peers)}
        if self.peer.advertise:
            specs[self.node.name] = parse_peer(f"{self.node.name}={self.peer.advertise}")
        elif self.node.name not in specs:
            host = "127.0.0.1" if self.peer.host in WILDCARD_HOSTS else self.peer.host
            specs[self.node.name] = PeerSpec(self.node.name, host, self.peer.port)
        return tuple(sorted(specs.values(), key=lambda spec: natural_order(spec.name)))

    @property
    def this_member(self) -> PeerSpec:
        return next(spec for spec in self.members if spec.name == self.node.name)

    @property
    def other_members(self) -> tuple[PeerSpec, ...]:
        return tuple(spec for spec in self.members if spec.name != self.node.name)

    @property
    def founder(self) -> PeerSpec:
        """The member that alone may found the cluster."""
        return self.members[0]

    @property
    def is_founder(self) -> bool:
        return self.founder.name == self.node.name

    @property
    def secret_bytes(self) -> bytes:
        """The shared secret; b"" only for a node without peers. `load` reads a `secret_file` into it."""
        return self.cluster.secret.encode()

    def memory_watermark_bytes(self) -> int:
        """Resident bytes at which publishers are blocked, with the default resolved for this machine."""
        return self.limits.memory_watermark or available_memory() * 6 // 10
