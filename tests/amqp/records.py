"""Messages for tests, and the records of them."""

from __future__ import annotations

from hypothesis import strategies as st

from cluster.amqp import methods as m
from cluster.amqp.properties import BasicProperties, encode_header
from cluster.amqp.record import encode_record

messages = st.tuples(
    st.sampled_from(["", "amq.topic", "éxchange"]),
    st.sampled_from(["q", "orders.new", "x" * 255]),
    st.sampled_from([BasicProperties(), BasicProperties(delivery_mode=2), BasicProperties(message_id="id-1")]),
    st.binary(max_size=20) | st.integers(4080, 12300).map(lambda size: bytes(index % 251 for index in range(size))),
)
Message = tuple[str, str, BasicProperties, bytes]


def record_of(message: Message) -> bytes:
    exchange, routing_key, properties, body = message
    method = m.BasicPublish(exchange, routing_key, True, False).encode()
    return encode_record(method, encode_header(len(body), properties), body)
