"""The command `brim`: hand in a file of requests, watch it run, fetch the answers."""
