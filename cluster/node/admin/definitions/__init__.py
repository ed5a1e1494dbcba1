"""Definitions: everything that operators and clients declared, as one JSON document, both ways."""
