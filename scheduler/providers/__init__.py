"""Adapters: one (item, target) into one HTTP call, and its answer into an AttemptEnd."""
