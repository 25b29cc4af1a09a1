"""Reading what callers send: JSON by its bytes, and what is wrong with it, all at once and in sentences."""
