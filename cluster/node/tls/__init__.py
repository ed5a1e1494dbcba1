"""TLS for clients, for operators and between nodes."""

from cluster.node.tls.certificates import Certificates
from cluster.node.tls.tls_socket import Socket, TlsSocket

__all__ = ["Certificates", "Socket", "TlsSocket"]
