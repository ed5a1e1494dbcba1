"""The domain: catalog, exchanges, routing, queues. Pure: time is a parameter, results are values."""
