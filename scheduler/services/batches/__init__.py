"""The life of a batch: created, opened, changed, ended, run again, and how it is shown."""
