"""Benchmarks: micro ones by part, and the whole broker beside RabbitMQ."""
