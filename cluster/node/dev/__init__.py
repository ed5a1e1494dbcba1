"""`clusterd dev`: a whole cluster on this machine, one process a node, to try out and to test."""
