"""The engine's scripts against a plain model, under random operations at a set clock."""
