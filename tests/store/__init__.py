"""Tests of the Postgres store against a real server."""
