"""Who calls and what is theirs: keys, tenants, their secrets at rest, the addresses that callbacks may reach."""
