"""The methods of AMQP 0-9-1 with RabbitMQ's extensions, as the source of `methods.py`.

Law: one line a method: name, id, who may send it (client, server, both), marks, then its arguments on the wire
in order, `name:type`. Marks: `sync` waits for an answer, `content` is followed by a header and a body.
A name beginning with `_` is reserved: skipped when read, written as zero or empty. After a change run
`python -m cluster.amqp.generate_methods`.
Sources: AMQP 0-9-1 §1.4 to §1.9 and https://www.rabbitmq.com/docs/specification.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLE = """
connection 10
    start 10 server sync  version_major:octet version_minor:octet server_properties:table \
mechanisms:longstr locales:longstr
    start_ok 11 client  client_properties:table mechanism:shortstr response:longstr locale:shortstr
    secure 20 server sync  challenge:longstr
    secure_ok 21 client  response:longstr
    tune 30 server sync  channel_max:short frame_max:long heartbeat:short
    tune_ok 31 client  channel_max:short frame_max:long heartbeat:short
    open 40 client sync  virtual_host:shortstr _1:shortstr _2:bit
    open_ok 41 server  _1:shortstr
    close 50 both sync  reply_code:short reply_text:shortstr class_id:short method_id:short
    close_ok 51 both
    blocked 60 server  reason:shortstr
    unblocked 61 server
    update_secret 70 client sync  new_secret:longstr reason:shortstr
    update_secret_ok 71 server
channel 20
    open 10 client sync  _1:shortstr
    open_ok 11 server  _1:longstr
    flow 20 both sync  active:bit
    flow_ok 21 both  active:bit
    close 40 both sync  reply_code:short reply_text:shortstr class_id:short method_id:short
    close_ok 41 both
access 30
    request 10 client sync  realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit
    request_ok 11 server  ticket:short
exchange 40
    declare 10 client sync  _1:short exchange:shortstr type:shortstr passive:bit durable:bit auto_delete:bit \
internal:bit no_wait:bit arguments:table
    declare_ok 11 server
    delete 20 client sync  _1:short exchange:shortstr if_unused:bit no_wait:bit
    delete_ok 21 server
    bind 30 client sync  _1:short destination:shortstr source:shortstr routing_key:shortstr no_wait:bit \
arguments:table
    bind_ok 31 server
    unbind 40 client sync  _1:short destination:shortstr source:shortstr routing_key:shortstr no_wait:bit \
arguments:table
    unbind_ok 51 server
queue 50
    declare 10 client sync  _1:short queue:shortstr passive:bit durable:bit exclusive:bit auto_delete:bit \
no_wait:bit arguments:table
    declare_ok 11 server  queue:shortstr message_count:long consumer_count:long
    bind 20 client sync  _1:short queue:shortstr exchange:shortstr routing_key:shortstr no_wait:bit \
arguments:table
    bind_ok 21 server
    purge 30 client sync  _1:short queue:shortstr no_wait:bit
    purge_ok 31 server  message_count:long
    delete 40 client sync  _1:short queue:shortstr if_unused:bit if_empty:bit no_wait:bit
    delete_ok 41 server  message_count:long
    unbind 50 client sync  _1:short queue:shortstr exchange:shortstr routing_key:shortstr arguments:table
    unbind_ok 51 server
basic 60
    qos 10 client sync  prefetch_size:long prefetch_count:short global_:bit
    qos_ok 11 server
    consume 20 client sync  _1:short queue:shortstr consumer_tag:shortstr no_local:bit no_ack:bit exclusive:bit \
no_wait:bit arguments:table
    consume_ok 21 server  consumer_tag:shortstr
    cancel 30 both sync  consumer_tag:shortstr no_wait:bit
    cancel_ok 31 both  consumer_tag:shortstr
    publish 40 client content  _1:short exchange:shortstr routing_key:shortstr mandatory:bit immediate:bit
    return 50 server content  reply_code:short reply_text:shortstr exchange:shortstr routing_key:shortstr
    deliver 60 server content  consumer_tag:shortstr delivery_tag:longlong redelivered:bit exchange:shortstr \
routing_key:shortstr
    get 70 client sync  _1:short queue:shortstr no_ack:bit
    get_ok 71 server content  delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr \
message_count:long
    get_empty 72 server  _1:shortstr
    ack 80 both  delivery_tag:longlong multiple:bit
    reject 90 client  delivery_tag:longlong requeue:bit
    recover_async 100 client  requeue:bit
    recover 110 client sync  requeue:bit
    recover_ok 111 server
    nack 120 both  delivery_tag:longlong multiple:bit requeue:bit
confirm 85
    select 10 client sync  no_wait:bit
    select_ok 11 server
tx 90
    select 10 client sync
    select_ok 11 server
    commit 20 client sync
    commit_ok 21 server
    rollback 30 client sync
    rollback_ok 31 server
"""

WIRE_TYPES = frozenset({"bit", "octet", "short", "long", "longlong", "shortstr", "longstr", "table"})
MARKS = frozenset({"sync", "content"})


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    wire_type: str

    @property
    def reserved(self) -> bool:
        return self.name.startswith("_")


@dataclass(frozen=True, slots=True)
class MethodRow:
    """One line of the table. `wire_name` is the specification's, as `queue.declare-ok`."""

    class_name: str
    class_id: int
    name: str
    method_id: int
    sender: str
    marks: frozenset[str]
    arguments: tuple[Argument, ...]

    @property
    def wire_name(self) -> str:
        return f"{self.class_name}.{self.name.replace('_', '-')}"

    @property
    def python_name(self) -> str:
        return "".join(word.capitalize() for word in (self.class_name, *self.name.split("_")))


def rows() -> list[MethodRow]:
    """The table, read. Raises ValueError on a line that does not follow the law above."""
    found: list[MethodRow] = []
    class_name, class_id = "", 0
    for line in TABLE.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            class_name, class_id = words[0], int(words[1])
            continue
        name, method_id, sender, *rest = words
        marks = frozenset(word for word in rest if ":" not in word)
        arguments = tuple(Argument(*word.split(":")) for word in rest if ":" in word)
        if (
            marks - MARKS
            or {argument.wire_type for argument in arguments} - WIRE_TYPES
            or sender not in {"client", "server", "both"}
        ):
            raise ValueError(f"cannot read the method table: {line.strip()}")
        found.append(MethodRow(class_name, class_id, name, int(method_id), sender, marks, arguments))
    return found
