"""What `brim-server up` is made of: child processes, keys, ports, readiness, the declarative set-up."""
