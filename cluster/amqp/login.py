"""What a client says of itself in start-ok: its capabilities, and by one of three mechanisms who it is.

Law: pure functions from what was sent to what it means; no octet of a response gets into an error.
"""

from __future__ import annotations

from cluster.amqp.errors import syntax_error
from cluster.amqp.field_table import FieldTable, FieldValue, Malformed, read_table

MECHANISMS = ("PLAIN", "AMQPLAIN", "EXTERNAL")
FAILURE_CLOSE = "authentication_failure_close"
"""The capability of a client that expects connection.close for a login that failed."""


def capabilities_of(client_properties: FieldTable) -> frozenset[str]:
    """Names of the capabilities that the client set to true."""
    capabilities = client_properties.get("capabilities")
    if not isinstance(capabilities, dict):
        return frozenset()
    return frozenset(name for name, value in capabilities.items() if value is True)


def usual_refusal(mechanism: str) -> str:
    """RabbitMQ's words for a login that failed; they do not say why."""
    return f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."


def read_response(mechanism: str, response: bytes) -> tuple[str, bytes]:
    """User name and password. `mechanism` is one of MECHANISMS. Raises ConnectionException 502.

    EXTERNAL (RFC 4422 appendix A) names nobody: who it is, the connection below has shown.
    """
    if mechanism == "EXTERNAL":
        return "", b""
    raw_name, password = _read_plain(response) if mechanism == "PLAIN" else _read_amqplain(response)
    try:
        return raw_name.decode(), password
    except UnicodeDecodeError:
        raise syntax_error(f"the user name of the {mechanism} response is not UTF-8") from None


def _read_plain(response: bytes) -> tuple[bytes, bytes]:
    """RFC 4616: authzid NUL authcid NUL passwd. Acting for another than oneself is not offered. An empty name is one
    that nobody has."""
    fields = response.split(b"\x00")
    if len(fields) != 3 or fields[0] not in {b"", fields[1]}:
        raise syntax_error("the PLAIN response is not NUL, user name, NUL, password")
    return fields[1], fields[2]


def _read_amqplain(response: bytes) -> tuple[bytes, bytes]:
    """A field table without its length, holding LOGIN and PASSWORD (AMQP 0-8's own mechanism)."""
    try:
        table, _ = read_table(len(response).to_bytes(4) + response, 0)
    except Malformed:
        raise syntax_error("the AMQPLAIN response is not a field table") from None
    name, password = _octets(table.get("LOGIN")), _octets(table.get("PASSWORD"))
    if name is None or password is None:
        raise syntax_error("the AMQPLAIN response lacks a LOGIN or PASSWORD string")
    return name, password


def _octets(value: FieldValue) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) else None
