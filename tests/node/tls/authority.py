"""An authority of the tests' own, and certificates of it in files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from cluster.node.config.model import TlsSection


class Authority:
    """Writes into a directory: ca.pem, and NAME.crt and NAME.key for each name."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.directory = directory
        self.ca = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, *hosts: str, days: float = 100) -> tuple[Path, Path]:
        """A certificate and its key, with `name` as common name."""
        made = self._authority.issue_cert(
            *(hosts or (name,)), common_name=name, not_after=datetime.now(UTC) + timedelta(days=days)
        )
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        made.private_key_pem.write_to_path(key)
        return certificate, key

    def section(self, name: str, *, verify: str = "none") -> TlsSection:
        """What a node is told that uses `name`, which has been issued."""
        certificate, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        return TlsSection(cert=str(certificate), key=str(key), ca=str(self.ca), verify=verify)  # type: ignore[arg-type]
