"""The store: Postgres behind ports.store. One file per store, its SQL beside it, migrations numbered."""
