"""The two narrow ports of the core: the engine (who may run) and the store (what is true)."""
