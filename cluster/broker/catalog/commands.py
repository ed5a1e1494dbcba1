"""The commands that change the catalog, as values.

Law: a command says everything its effect depends on besides the state it meets; its fields are only str, int,
bool, bytes, None and tuples of those, so that it is written and read without loss. A field is never removed or given
another meaning; a new one goes last and has a default that means what was meant before (older entries lack it).
To repeat a command is safe: who does not know what became of it proposes it again.
Arguments are an AMQP field table as `encode_table` makes it, so that every value keeps its type; b"" is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

Scalar: TypeAlias = "str | int | bool | None"
MemberRow: TypeAlias = tuple[int, str, str, int]
"""node id, name, host, port of its peer listener"""
KEEP_STATE = -1
PlacementRow: TypeAlias = tuple[int, tuple[int, ...]]
"""group id, the node ids of its replicas"""


@dataclass(frozen=True, slots=True)
class FoundCluster:
    """The first command of every cluster. Makes the members, the shards, the vhost and its administrator.

    Refused once a cluster is founded, unless it is the same one (`cluster_id`).
    """

    opcode: ClassVar[int] = 1
    cluster_id: str
    cluster_name: str
    members: tuple[MemberRow, ...]
    placement: tuple[PlacementRow, ...]
    default_user: str
    password_hash: str
    default_vhost: str = "/"


@dataclass(frozen=True, slots=True)
class PutSetting:
    """A cluster-wide setting; None clears it."""

    opcode: ClassVar[int] = 2
    name: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class PutMember:
    """A new member, or another name, address or state (`MemberState`) of one; KEEP_STATE leaves that as it is."""

    opcode: ClassVar[int] = 3
    node: int
    name: str
    host: str
    port: int
    state: int


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Its id is not given again. Its transient queues go. Refused while a shard is placed on it."""

    opcode: ClassVar[int] = 4
    node: int


@dataclass(frozen=True, slots=True)
class PlaceShard:
    """The replicas of a shard, known members all."""

    opcode: ClassVar[int] = 5
    group: int
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AdmitMember:
    """A node with an empty directory joins, under the next id. `token` is its directory's.

    A member of the same name with another token has lost its directory: it is GONE. Repeated, it changes nothing.
    """

    opcode: ClassVar[int] = 8
    name: str
    host: str
    port: int
    token: str


@dataclass(frozen=True, slots=True)
class SurviveAlone:
    """Of all members `node`, of this name, is left with what it holds: this is another cluster now, of it alone.

    Nobody proposes it: it is written into the log of a node that is stopped (`clusterd recover`).
    """

    opcode: ClassVar[int] = 9
    cluster_id: str
    node: int
    name: str


@dataclass(frozen=True, slots=True)
class NodeGone:
    """The lives of `node` up to and including `incarnation` are over: the queues that lived in them go."""

    opcode: ClassVar[int] = 6
    node: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class ConnectionGone:
    """A connection is over: its exclusive queues go."""

    opcode: ClassVar[int] = 7
    connection: str


@dataclass(frozen=True, slots=True)
class PutVhost:
    """A new vhost with its predeclared exchanges, or another description of one. Tags are comma separated.

    `default_queue_type` is "classic" or "quorum": the type of queues declared without x-queue-type.
    """

    opcode: ClassVar[int] = 10
    name: str
    description: str = ""
    tags: str = ""
    default_queue_type: str = "classic"


@dataclass(frozen=True, slots=True)
class DeleteVhost:
    """Everything in it goes, and the permissions on it."""

    opcode: ClassVar[int] = 11
    name: str


@dataclass(frozen=True, slots=True)
class PutUser:
    """`password_hash` is opaque here ("" lets nobody log in); `tags` in the order given."""

    opcode: ClassVar[int] = 12
    name: str
    password_hash: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteUser:
    """Its permissions and limits go with it."""

    opcode: ClassVar[int] = 13
    name: str


@dataclass(frozen=True, slots=True)
class SetPermissions:
    """Three regular expressions over resource names, searched for (not anchored); "" lets nothing through."""

    opcode: ClassVar[int] = 14
    user: str
    vhost: str
    configure: str
    write: str
    read: str


@dataclass(frozen=True, slots=True)
class ClearPermissions:
    opcode: ClassVar[int] = 15
    user: str
    vhost: str


@dataclass(frozen=True, slots=True)
class SetTopicPermissions:
    """Regular expressions over routing keys of one topic exchange; {username} and {vhost} are filled in."""

    opcode: ClassVar[int] = 16
    user: str
    vhost: str
    exchange: str
    write: str
    read: str


@dataclass(frozen=True, slots=True)
class ClearTopicPermissions:
    """Of one exchange, or of all when `exchange` is None."""

    opcode: ClassVar[int] = 17
    user: str
    vhost: str
    exchange: str | None = None


@dataclass(frozen=True, slots=True)
class PutPolicy:
    """`apply_to` is queues, exchanges, all, classic_queues or quorum_queues. `definition` is key-value pairs."""

    opcode: ClassVar[int] = 18
    vhost: str
    name: str
    pattern: str
    apply_to: str
    priority: int
    definition: tuple[tuple[str, Scalar], ...]
    operator: bool = False


@dataclass(frozen=True, slots=True)
class DeletePolicy:
    opcode: ClassVar[int] = 19
    vhost: str
    name: str
    operator: bool = False


@dataclass(frozen=True, slots=True)
class SetVhostLimit:
    """`limit` is max-connections or max-queues; None clears it, a negative value means no limit."""

    opcode: ClassVar[int] = 20
    vhost: str
    limit: str
    value: int | None


@dataclass(frozen=True, slots=True)
class SetUserLimit:
    """`limit` is max-connections or max-channels; None clears it, a negative value means no limit."""

    opcode: ClassVar[int] = 21
    user: str
    limit: str
    value: int | None


@dataclass(frozen=True, slots=True)
class DeclareExchange:
    opcode: ClassVar[int] = 30
    vhost: str
    name: str
    type: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteExchange:
    """Nothing to do when it is not there. `if_unused` refuses while something is bound to it."""

    opcode: ClassVar[int] = 31
    vhost: str
    name: str
    if_unused: bool = False


@dataclass(frozen=True, slots=True)
class BindQueue:
    opcode: ClassVar[int] = 32
    vhost: str
    exchange: str
    queue: str
    routing_key: str
    arguments: bytes = b""


@dataclass(frozen=True, slots=True)
class UnbindQueue:
    """Nothing to do when there is no such binding."""

    opcode: ClassVar[int] = 33
    vhost: str
    exchange: str
    queue: str
    routing_key: str
    arguments: bytes = b""


@dataclass(frozen=True, slots=True)
class BindExchange:
    """Messages flow from `source` to `destination`."""

    opcode: ClassVar[int] = 34
    vhost: str
    destination: str
    source: str
    routing_key: str
    arguments: bytes = b""


@dataclass(frozen=True, slots=True)
class UnbindExchange:
    """Nothing to do when there is no such binding."""

    opcode: ClassVar[int] = 35
    vhost: str
    destination: str
    source: str
    routing_key: str
    arguments: bytes = b""


@dataclass(frozen=True, slots=True)
class DeclareQueue:
    """`home` and its `incarnation` hold a queue that is not replicated. In the log, a replicated one has no
    incarnation, and the home that it is to be led at, or NO_NODE; one with an incarnation was proposed by an older
    program, and each replica finds out for itself. `owner` is the connection that declares, whether exclusively or
    not."""

    opcode: ClassVar[int] = 40
    vhost: str
    name: str
    durable: bool
    exclusive: bool
    auto_delete: bool
    arguments: bytes = b""
    owner: str = ""
    home: int = 0
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class DeleteQueue:
    """Nothing to do when it is not there, or is another than `expected` (a QueueId; 0 takes whichever it is)."""

    opcode: ClassVar[int] = 41
    vhost: str
    name: str
    expected: int = 0


@dataclass(frozen=True, slots=True)
class QueueUsed:
    """A queue that goes with its last consumer gets its first one. Nothing to do for any other, or when it is gone."""

    opcode: ClassVar[int] = 42
    queue: int


SingleCommand: TypeAlias = (
    FoundCluster
    | PutSetting
    | PutMember
    | RemoveMember
    | AdmitMember
    | SurviveAlone
    | PlaceShard
    | NodeGone
    | ConnectionGone
    | PutVhost
    | DeleteVhost
    | PutUser
    | DeleteUser
    | SetPermissions
    | ClearPermissions
    | SetTopicPermissions
    | ClearTopicPermissions
    | PutPolicy
    | DeletePolicy
    | SetVhostLimit
    | SetUserLimit
    | DeclareExchange
    | DeleteExchange
    | BindQueue
    | UnbindQueue
    | BindExchange
    | UnbindExchange
    | DeclareQueue
    | DeleteQueue
    | QueueUsed
)


@dataclass(frozen=True, slots=True)
class Several:
    """Commands applied in order, in one entry. Each has its own result; a refused one does not stop the rest.

    At most `ids.ORDINAL_MAX` + 1 commands.
    """

    opcode: ClassVar[int] = 50
    commands: tuple[SingleCommand, ...]


Command: TypeAlias = SingleCommand | Several
