"""Shards on a node: the replicas it holds, the streams of its channels, and the words between them."""
