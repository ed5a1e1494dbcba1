"""A node's configuration: what can be set (`model`), where it may be set (`sources`), the check (`load`)."""

from cluster.node.config.load import ConfigError, load
from cluster.node.config.model import (
    AmqpSection,
    AuthSection,
    ClusterSection,
    DefinitionsSection,
    HttpSection,
    LimitsSection,
    LogSection,
    NodeConfig,
    NodeSection,
    PeerSection,
    RaftSection,
)
from cluster.node.config.peers import PeerSpec

__all__ = [
    "AmqpSection",
    "AuthSection",
    "ClusterSection",
    "ConfigError",
    "DefinitionsSection",
    "HttpSection",
    "LimitsSection",
    "LogSection",
    "NodeConfig",
    "NodeSection",
    "PeerSection",
    "PeerSpec",
    "RaftSection",
    "load",
]
