"""Until when a certificate holds.

Law: it reads the one field it is for (RFC 5280 §4.1.2.5) and believes nothing: what is no certificate is a ValueError.
The standard library tells the dates of certificates that it has verified, and a server does not verify its own.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Final

_SEQUENCE: Final = 0x30
_EXPLICIT_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_BEFORE_VALIDITY: Final = 3
"""serialNumber, signature, issuer."""
_PEM_BEGIN, _PEM_END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def expires_at(pem: str) -> float:
    """Of the first certificate in the text, in Unix seconds. Raises ValueError."""
    begin, end = pem.find(_PEM_BEGIN), pem.find(_PEM_END)
    if not 0 <= begin < end:
        raise ValueError("no certificate in PEM")
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_PEM_END)]))
    except (IndexError, ValueError):
        raise ValueError("not a certificate of X.509") from None


def _not_after(der: bytes) -> float:
    _, certificate, _ = _value(der, 0)
    _, signed, _ = _value(certificate, 0)
    tag, _, position = _value(signed, 0)
    for _ in range(_BEFORE_VALIDITY if tag == _EXPLICIT_VERSION else _BEFORE_VALIDITY - 1):
        _, _, position = _value(signed, position)
    tag, validity, _ = _value(signed, position)
    if tag != _SEQUENCE:
        raise ValueError("no validity")
    _, _, position = _value(validity, 0)
    tag, octets, _ = _value(validity, position)
    text = octets.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year: 50 to 99 are of the last century.
        text = ("19" if text >= "5" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _value(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Tag, content and end of the value that begins there (X.690, definite lengths)."""
    tag, size = data[position], data[position + 1]
    position += 2
    if size & 0x80:
        octets = size & 0x7F
        size = int.from_bytes(data[position : position + octets])
        position += octets
    if position + size > len(data):
        raise ValueError("cut off")
    return tag, data[position : position + size], position + size
