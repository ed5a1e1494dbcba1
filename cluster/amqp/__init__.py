"""AMQP 0-9-1 codec and server-side protocol machines: bytes to events and back; knows no broker."""
