"""A TLS connection in RabbitMQ's words, which are Erlang's: `tlsv1.3`, `aes_256_gcm`, `ecdhe_rsa`.

Law: it tells what was agreed on and what the other side has proved; a certificate that was not verified is none.
Names are written as RFC 4514 has it.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cluster.node.tls.tls_socket import TlsSocket

_SHORT: Final = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_SPECIAL: Final = frozenset('\\,+"<>;')


@dataclass(frozen=True, slots=True)
class TlsWords:
    """`protocol` is such as `"tlsv1.3"`. Those of the peer's certificate are "" where it has shown none."""

    protocol: str = ""
    key_exchange: str = ""
    cipher: str = ""
    hash: str = ""
    peer_subject: str = ""
    peer_issuer: str = ""
    peer_validity: str = ""


NO_TLS: Final = TlsWords()
_suites: dict[str, tuple[str, str, str]] = {}
"""Key exchange, cipher and hash by OpenSSL's name of the suite; no more than there are suites."""


def tls_words(sock: TlsSocket) -> TlsWords:
    certificate: dict[str, Any] = sock.peer_certificate
    validity = ""
    if certificate:
        validity = f"{_time(certificate['notBefore'])} - {_time(certificate['notAfter'])}"
    return TlsWords(
        sock.version.lower(),
        *_suite(sock),
        peer_subject=_name(certificate.get("subject", ())),
        peer_issuer=_name(certificate.get("issuer", ())),
        peer_validity=validity,
    )


def _suite(sock: TlsSocket) -> tuple[str, str, str]:
    name = sock.suite
    if name not in _suites:
        for suite in sock.suites:
            if suite["name"] == name:
                exchange, auth = suite["kea"].removeprefix("kx-"), suite["auth"].removeprefix("auth-")
                both = exchange if exchange in (auth, "any") else f"{exchange}_{auth}"
                digest = "aead" if suite["aead"] else str(suite["digest"])
                _suites[name] = (both, suite["symmetric"].replace("-", "_"), digest)
    return _suites.get(name, ("", "", ""))


def _name(parts: Any) -> str:
    """The last part stands first; those of one part are joined by `+`."""
    return ",".join(
        ["+".join([f"{_SHORT.get(key, key)}={_escaped(value)}" for key, value in part]) for part in reversed(parts)]
    )


def _escaped(text: str) -> str:
    escaped = "".join(["\\" + c if c in _SPECIAL else c for c in text])
    if escaped[:1] in (" ", "#"):
        escaped = "\\" + escaped
    return escaped[:-1] + "\\ " if escaped[1:].endswith(" ") else escaped


def _time(text: str) -> str:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
