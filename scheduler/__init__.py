"""The core of Brim: domain, engine, store, providers and services; knows no web framework."""
