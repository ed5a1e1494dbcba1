"""The catalog: the replicated metadata machine of group 0, and what is read from it."""
