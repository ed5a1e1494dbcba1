"""A node's certificate, and whom it believes, in the shapes that its listeners and links need.

Law: what is used came from files that fit together. Files that change are taken up within LOOK_SECONDS, for connections
that begin after it; when they do not fit, what was there before is kept, and a line says so. The other node of a link
proves itself by a certificate of the same authority, whichever side dialled.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from pathlib import Path
from typing import Final

import trio

from cluster.node.config.model import TlsSection
from cluster.node.logging import get_logger
from cluster.node.tls.tls_socket import TlsSocket, handshake
from cluster.node.tls.validity import expires_at

LOOK_SECONDS: Final = 5.0
_WARN_DAYS: Final = 14
_DAY_SECONDS: Final = 86_400.0
_VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class Certificates:
    """Contexts over the files of `TlsSection`, and handshakes with them. Raises OSError for files that do not do."""

    def __init__(self, config: TlsSection) -> None:
        self._config = config
        self._log = get_logger("tls")
        self._marks: list[tuple[int, int, int]] = []
        self.https: ssl.SSLContext = self._server(ssl.CERT_NONE)
        """One for the node's life: the HTTP server keeps it, so it is renewed in place."""
        self.https.set_alpn_protocols(["h2", "http/1.1"])
        self._load()

    def _load(self) -> None:
        """Raises OSError, and changes nothing."""
        marks = self._look()
        clients = self._server(_VERIFY[self._config.verify])
        peers = self._server(ssl.CERT_REQUIRED) if self._config.ca else None
        if peers is not None:
            # The dialler of a link only writes: what it does not read would break the link when it closes.
            peers.num_tickets = 0
        dialling = self._client() if self._config.ca else None
        try:
            expiry = expires_at(Path(self._config.cert).read_text(encoding="ascii"))
        except ValueError as error:
            raise OSError(f"tls.cert: {self._config.cert}: {error}") from None
        self._load_pair(self.https)
        self.clients = clients
        """For the AMQP listener. Replaced when the files change."""
        self.expires_at = expiry
        """Unix seconds."""
        self._peers, self._dialling = peers, dialling
        self._marks = marks

    def _server(self, verify: ssl.VerifyMode) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_SERVER, verify)

    def _client(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_CLIENT, ssl.CERT_REQUIRED)

    def _context(self, protocol: int, verify: ssl.VerifyMode) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.verify_mode = verify
        self._load_pair(context)
        if verify is not ssl.CERT_NONE:
            try:
                context.load_verify_locations(self._config.ca)
            except OSError as error:
                raise OSError(f"tls.ca: {self._config.ca}: {_reason(error)}") from None
        return context

    def _load_pair(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._config.cert, self._config.key)
        except OSError as error:
            raise OSError(f"tls.cert, tls.key: {self._config.cert}, {self._config.key}: {_reason(error)}") from None

    # ---- for as long as the node lives

    async def watch(self) -> None:
        """Take up files that change, and warn of an end that is near. Until cancelled."""
        warned_at = 0.0
        while True:
            days = (self.expires_at - time.time()) / _DAY_SECONDS
            if days < _WARN_DAYS and time.monotonic() - warned_at > _DAY_SECONDS:
                warned_at = time.monotonic()
                self._log.warning("the certificate expires soon", file=self._config.cert, days=round(days, 1))
            await trio.sleep(LOOK_SECONDS)
            self.reload()

    def reload(self) -> bool:
        """Look at the files; True when others than before are used."""
        marks = self._look()
        if marks == self._marks:
            return False
        try:
            self._load()
        except OSError as error:
            # Said once for each change; files that are being replaced may fit in a moment.
            self._marks = marks
            self._log.error("changed certificates are not used", reason=str(error))
            return False
        self._log.info("certificates reloaded", file=self._config.cert)
        return True

    def _look(self) -> list[tuple[int, int, int]]:
        marks = []
        for path in (self._config.cert, self._config.key, self._config.ca):
            try:
                status = os.stat(path)
                marks.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                marks.append((0, 0, 0))
        return marks

    # ---- handshakes

    async def welcomed(self, sock: socket.socket) -> TlsSocket:
        """Of a client. Raises OSError."""
        return await handshake(sock, self.clients, server_side=True)

    async def dialled(self, sock: socket.socket, host: str) -> TlsSocket:
        """The dialler's side; who answers has to be `host`. Raises OSError."""
        assert self._dialling is not None, "the configuration wants tls.ca for links"
        return await handshake(sock, self._dialling, server_side=False, server_hostname=host)

    async def accepted(self, sock: socket.socket) -> TlsSocket:
        """The listener's side. Raises OSError."""
        assert self._peers is not None, "the configuration wants tls.ca for links"
        return await handshake(sock, self._peers, server_side=True)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
