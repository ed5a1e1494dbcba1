"""Routing: pure structures that say which queues a routing key leads to."""
