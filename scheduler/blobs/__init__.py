"""Contents of files by their SHA-256: on local disk, or in an object store."""
