"""LMDB and in-memory implementations of the storage protocol that `cluster.raft.storage` states."""
