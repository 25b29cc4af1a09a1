"""Batches that come as files: checked, run, their results published, whatever face they come from."""
