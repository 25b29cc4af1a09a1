"""Brim's tests."""
