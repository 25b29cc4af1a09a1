"""The engine's edges: scripts as texts, wake-ups, the live feed, trouble with Redis."""
