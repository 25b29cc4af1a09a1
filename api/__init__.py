"""The HTTP interface: routes, schemas, authentication, event streams."""
