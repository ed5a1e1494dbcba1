"""Clients of a run. Each is a process of its own that writes down what it does and sees."""
