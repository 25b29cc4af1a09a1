"""The command `brim-server`: its parts, and whole runs of it."""
