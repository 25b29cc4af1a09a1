"""The embedded servers: real processes, killed and started again."""
