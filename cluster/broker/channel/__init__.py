"""What a channel remembers: publishes that wait for their confirm, deliveries that wait for their ack."""
