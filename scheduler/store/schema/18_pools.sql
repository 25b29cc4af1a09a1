-- Pools of resources: parts of the connections of an environment.

CREATE TABLE pool_definitions (
    environment_id uuid        PRIMARY KEY REFERENCES environments ON DELETE CASCADE,
    workspace_id   uuid        NOT NULL,
    pools          jsonb       NOT NULL,        -- list of {name, rank, min_share, max_share, resource_ids}; empty: deleted
    version        bigint      NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
