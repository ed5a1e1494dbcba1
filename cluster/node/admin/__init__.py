"""The admin HTTP interface of a node: health, metrics, and the status that clusterctl shows."""
