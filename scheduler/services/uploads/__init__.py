"""Batches that come line by line, in memory that follows no length."""
