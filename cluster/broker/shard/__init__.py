"""A shard: the replicated contents of many queues, and what its leader decides about them."""
