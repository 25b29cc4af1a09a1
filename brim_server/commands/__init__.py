"""The subcommands of `brim-server`, one file each: `NAME`, `configure(parser)`, `run(arguments)`."""
