"""AMQP clients on a node: sockets, channels, and what their methods do."""
