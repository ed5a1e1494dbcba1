"""Files of certificates: what does not fit is told in a line, what changes is taken up."""

from __future__ import annotations

import socket
import ssl
import time
from functools import partial
from pathlib import Path

import pytest
import trio

from cluster.node.config.model import TlsSection
from cluster.node.tls import Certificates
from cluster.node.tls.tls_socket import handshake
from cluster.node.tls.validity import expires_at
from tests.node.tls.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize("days", [0.5, 100, 9000, 20_000])
def test_the_end_of_a_certificate_is_read_from_it(authority: Authority, days: float) -> None:
    """From 2050 on it is written in another way (RFC 5280 §4.1.2.5)."""
    certificate, _ = authority.issue("node", days=days)
    assert expires_at(certificate.read_text()) == pytest.approx(time.time() + days * 86_400, abs=60)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----",
        "-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----",
    ],
)
def test_what_is_no_certificate_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        expires_at(text)


def test_a_missing_file_is_one_line_that_names_it(authority: Authority) -> None:
    certificate, key = authority.issue("node")
    with pytest.raises(OSError, match=r"tls\.cert, tls\.key: .*nowhere.*No such file"):
        Certificates(TlsSection(cert="nowhere", key=str(key)))
    with pytest.raises(OSError, match=r"tls\.ca: nowhere: No such file"):
        Certificates(TlsSection(cert=str(certificate), key=str(key), ca="nowhere", verify="required"))


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    certificate, _ = authority.issue("node")
    _, key = authority.issue("other")
    with pytest.raises(OSError, match="KEY_VALUES_MISMATCH"):
        Certificates(TlsSection(cert=str(certificate), key=str(key)))


def test_changed_files_are_taken_up_once_they_fit(authority: Authority) -> None:
    certificate, key = authority.issue("node", days=10)
    certificates = Certificates(authority.section("node"))
    first, clients = certificates.expires_at, certificates.clients
    assert not certificates.reload()

    other_certificate, other_key = authority.issue("other", days=50)
    certificate.write_bytes(other_certificate.read_bytes())
    assert not certificates.reload(), "a certificate without its key is used"
    assert (certificates.expires_at, certificates.clients) == (first, clients)
    assert not certificates.reload()

    key.write_bytes(other_key.read_bytes())
    assert certificates.reload()
    assert certificates.expires_at > first
    assert certificates.clients is not clients


async def test_https_shows_the_changed_certificate_as_well(authority: Authority) -> None:
    authority.issue("localhost", days=10)
    certificates = Certificates(authority.section("localhost"))
    certificate, _ = authority.issue("localhost", days=50)
    assert certificates.reload()
    client = ssl.create_default_context(cafile=str(authority.ca))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(handshake, ours, certificates.https, server_side=True))
        sealed = await handshake(theirs, client, server_side=False, server_hostname="localhost")
    shown = sealed._tls.getpeercert(binary_form=True)
    assert shown == ssl.PEM_cert_to_DER_cert(certificate.read_text())
    ours.close()
    theirs.close()
