"""Contents of files: on disk and in an object store."""
