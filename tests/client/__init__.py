"""Tests of the published client, against a small Brim of our own on a real socket."""
