"""The Trio driver of Raft groups."""

from cluster.raft.runtime.interface import (
    GroupHandler,
    GroupReport,
    RuntimeConfig,
    RuntimeStatistics,
    StorageListener,
    Transport,
)
from cluster.raft.runtime.prompt_writer import PromptWriter
from cluster.raft.runtime.runtime import Runtime
from cluster.raft.runtime.writer import ThreadWriter, WriteOutcome, Writer

__all__ = [
    "GroupHandler",
    "GroupReport",
    "PromptWriter",
    "Runtime",
    "RuntimeConfig",
    "RuntimeStatistics",
    "StorageListener",
    "ThreadWriter",
    "Transport",
    "WriteOutcome",
    "Writer",
]
