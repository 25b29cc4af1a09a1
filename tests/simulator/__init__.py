"""The simulator: its meters by hand, its server over HTTP."""
