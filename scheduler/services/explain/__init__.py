"""What is so now and why: headroom, what binds, what goes first, until when."""
