"""Raft consensus: a sans-I/O core, the storage protocol it needs, and the driver that runs many groups."""
