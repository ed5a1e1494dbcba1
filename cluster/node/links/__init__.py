"""Inter-node links: authenticated message and request channels between the members of a cluster."""

from cluster.node.links.greeting import petition, probe
from cluster.node.links.handshake import (
    VERSION_OF_DOOMS,
    VERSION_OF_LAGS,
    VERSION_OF_MEMBERSHIP,
    VERSION_OF_SHORTAGES,
    VERSION_OF_SIZES,
)
from cluster.node.links.interface import (
    KIND_MAX,
    Body,
    LinkDown,
    LinkError,
    LinkHandler,
    LinkLimits,
    LinksStatistics,
    LinkTimeout,
    PeerAddress,
    PeerStatistics,
    ProbeFailed,
    ProtocolViolation,
    RemoteError,
    RequestError,
)
from cluster.node.links.links import Links
from cluster.node.links.sockets import open_listener

__all__ = [
    "KIND_MAX",
    "VERSION_OF_DOOMS",
    "VERSION_OF_LAGS",
    "VERSION_OF_MEMBERSHIP",
    "VERSION_OF_SHORTAGES",
    "VERSION_OF_SIZES",
    "Body",
    "LinkDown",
    "LinkError",
    "LinkHandler",
    "LinkLimits",
    "LinkTimeout",
    "Links",
    "LinksStatistics",
    "PeerAddress",
    "PeerStatistics",
    "ProbeFailed",
    "ProtocolViolation",
    "RemoteError",
    "RequestError",
    "open_listener",
    "petition",
    "probe",
]
