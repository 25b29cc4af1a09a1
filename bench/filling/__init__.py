"""Runs of the real scripts under a virtual clock: hours of a limit in seconds."""
