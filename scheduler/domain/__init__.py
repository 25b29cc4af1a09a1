"""The words and rules of Brim as plain values: standard library only, no clock, no I/O."""
