"""Duties of the workers: pure parts alone, the rest against real servers and a provider of our own."""
