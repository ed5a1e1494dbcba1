"""The catalog on a node: its replica, and the way for a change from any node to be visible on all."""
