"""Faults against a running stack, on seeded schedules, judged from outside: see docs/faults.md."""
