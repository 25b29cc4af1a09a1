"""Shards of the engine: opened, recovered after a loss, refilled."""
