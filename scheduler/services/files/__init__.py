"""Files of callers, and files of ours while they grow."""
