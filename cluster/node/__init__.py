"""One running node: listeners, sessions, inter-node links, configuration, lifecycle."""
