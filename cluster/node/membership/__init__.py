"""Who belongs to the cluster, and which replicas are where: nodes join, leave, are replaced, and shards move."""
