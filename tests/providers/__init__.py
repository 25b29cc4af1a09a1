"""Adapters: classification, waits, bodies, and the wire."""
