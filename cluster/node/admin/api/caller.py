"""Who calls the management interface, and what the tags of that user open.

Law: a user without one of the four tags sees nothing. Who is neither administrator nor monitoring sees and changes
only the vhosts that the user has permissions on; inside a vhost the same permissions hold as over AMQP, except that
an administrator may delete and purge everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from starlette.exceptions import HTTPException

from cluster.broker.catalog.catalog import Catalog
from cluster.broker.catalog.vhost import Vhost

ADMINISTRATOR: Final = frozenset({"administrator"})
MONITORING: Final = frozenset({"administrator", "monitoring"})
POLICYMAKER: Final = frozenset({"administrator", "policymaker"})
MANAGEMENT: Final = frozenset({"administrator", "monitoring", "policymaker", "management"})


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated user, with the password that proved it."""

    name: str
    tags: frozenset[str]
    catalog: Catalog
    password: str = field(repr=False)

    def require(self, tags: frozenset[str]) -> None:
        """Raises HTTPException 403 when the user has none of `tags`."""
        if not self.tags & tags:
            raise HTTPException(403, f"needs a user with one of the tags {', '.join(sorted(tags))}")

    @property
    def remover(self) -> str | None:
        """As whom the user deletes and purges, for the catalog's checks: None needs no permissions."""
        return None if "administrator" in self.tags else self.name

    @property
    def sees_all(self) -> bool:
        return bool(self.tags & MONITORING)

    def sees(self, vhost: str) -> bool:
        return self.sees_all or (self.name, vhost) in self.catalog.access.permissions

    def vhosts(self) -> Iterable[Vhost]:
        """Those the user sees, by name."""
        return [vhost for name, vhost in sorted(self.catalog.vhosts.items()) if self.sees(name)]

    def vhost(self, name: str) -> Vhost:
        """Raises HTTPException 404, 403."""
        vhost = self.catalog.vhosts.get(name)
        if vhost is None:
            raise HTTPException(404, f"no vhost '{name}'")
        if not self.sees(name):
            raise HTTPException(403, f"access to vhost '{name}' refused for user '{self.name}'")
        return vhost

    def vhost_to_change(self, name: str) -> Vhost:
        """As `vhost`; seeing everything (the tag monitoring) is not enough. Raises HTTPException 404, 403."""
        vhost = self.vhost(name)
        if "administrator" not in self.tags and (self.name, name) not in self.catalog.access.permissions:
            raise HTTPException(403, f"access to vhost '{name}' refused for user '{self.name}'")
        return vhost
