-- The schema after all migrations, for reading (a test compares the two). Change it by a migration.
-- Tenants, what administrators set up, shards, and the processes that serve them.

CREATE TABLE workspaces (
    workspace_id uuid        PRIMARY KEY,
    name         text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workspaces_name_is_unique UNIQUE (name)
);

CREATE TABLE shards (
    shard    integer PRIMARY KEY,                -- 0 … n-1; n is fixed when the database is first migrated
    epoch    bigint  NOT NULL DEFAULT 0,         -- raised when Redis lost or may have lost the shard; 0: never opened
    identity text    NOT NULL DEFAULT ''         -- run id and replication id of the Redis that the epoch was opened with
);

CREATE TABLE environments (
    environment_id uuid        PRIMARY KEY,
    workspace_id   uuid        NOT NULL REFERENCES workspaces,
    name           text        NOT NULL,
    shard          integer     NOT NULL REFERENCES shards,  -- for ever: a stable hash of the id
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT environments_name_is_unique UNIQUE (workspace_id, name),
    CONSTRAINT environments_address_is_unique UNIQUE (workspace_id, environment_id)
);

-- A version must rise for ever, also over a deletion and a new creation under the same id: the engine ignores older ones.
CREATE TABLE deleted_versions (
    object_id uuid   PRIMARY KEY,
    version   bigint NOT NULL
);

-- json, not jsonb: it keeps what was given, \u0000 included.
CREATE TABLE connections (
    connection_id  uuid        PRIMARY KEY,
    workspace_id   uuid        NOT NULL,
    environment_id uuid        NOT NULL,
    name           text        NOT NULL,
    description    text,
    provider       text        NOT NULL,
    profile        text,
    config         json        NOT NULL,
    secret_config  json        NOT NULL,          -- encrypted values, base64, by field name
    allowed_models json,
    capacity       json        NOT NULL,
    max_in_flight  integer,
    version        bigint      NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    direct_share   float8      NOT NULL DEFAULT 0,  -- part of its limits that is kept for direct calls
    CONSTRAINT connections_direct_share_is_a_part CHECK (direct_share BETWEEN 0 AND 1),
    CONSTRAINT connections_belong_to_an_environment FOREIGN KEY (workspace_id, environment_id)
        REFERENCES environments (workspace_id, environment_id),
    CONSTRAINT connections_name_is_unique UNIQUE (environment_id, name),
    CONSTRAINT connections_address_is_unique UNIQUE (environment_id, connection_id)
);

CREATE TABLE resources (
    resource_id      uuid        PRIMARY KEY,
    workspace_id     uuid        NOT NULL,
    environment_id   uuid        NOT NULL,
    name             text        NOT NULL,
    description      text,
    spill            boolean     NOT NULL,
    capacity         json        NOT NULL,
    enforce_capacity boolean     NOT NULL,
    max_in_flight    integer,
    timeout_ms       integer     NOT NULL,
    max_retries      integer     NOT NULL,
    priority         text        NOT NULL,
    default_args     json        NOT NULL,
    version          bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT resources_belong_to_an_environment FOREIGN KEY (workspace_id, environment_id)
        REFERENCES environments (workspace_id, environment_id),
    CONSTRAINT resources_name_is_unique UNIQUE (environment_id, name),
    CONSTRAINT resources_address_is_unique UNIQUE (environment_id, resource_id)
);

CREATE TABLE resource_targets (
    resource_id    uuid     NOT NULL,
    no             smallint NOT NULL,             -- 0: the resource's model; then its fallbacks in order
    environment_id uuid     NOT NULL,
    connection_id  uuid     NOT NULL,
    model          text     NOT NULL,
    PRIMARY KEY (resource_id, no),
    CONSTRAINT resource_targets_belong_to_a_resource FOREIGN KEY (environment_id, resource_id)
        REFERENCES resources (environment_id, resource_id) ON DELETE CASCADE,
    CONSTRAINT resource_targets_name_a_connection FOREIGN KEY (environment_id, connection_id)
        REFERENCES connections (environment_id, connection_id)
);
-- Serves the foreign key: who uses a connection that is to be deleted.
CREATE INDEX resource_targets_by_connection ON resource_targets (environment_id, connection_id);

CREATE TABLE api_keys (
    api_key_id     uuid        PRIMARY KEY,
    workspace_id   uuid        NOT NULL,
    environment_id uuid        NOT NULL,
    name           text        NOT NULL,
    description    text,
    enabled        boolean     NOT NULL,
    resources      uuid[],                        -- null: all of the environment
    labels         json        NOT NULL,
    capacity       json        NOT NULL,
    max_in_flight  integer,
    scopes         json        NOT NULL,
    masked         text        NOT NULL,
    key_hash       bytea       NOT NULL,          -- SHA-256 of the key; the key itself is stored nowhere
    version        bigint      NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT api_keys_belong_to_an_environment FOREIGN KEY (workspace_id, environment_id)
        REFERENCES environments (workspace_id, environment_id),
    CONSTRAINT api_keys_name_is_unique UNIQUE (environment_id, name),
    CONSTRAINT api_keys_hash_is_unique UNIQUE (key_hash)
);

CREATE FUNCTION continue_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    object uuid;
BEGIN
    EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) INTO object USING NEW;
    NEW.version := 1 + coalesce((SELECT d.version FROM deleted_versions d WHERE d.object_id = object), 0);
    RETURN NEW;
END $$;

CREATE FUNCTION keep_version() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    object uuid;
BEGIN
    EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) INTO object USING OLD;
    INSERT INTO deleted_versions VALUES (object, OLD.version)
    ON CONFLICT (object_id) DO UPDATE SET version = EXCLUDED.version;
    RETURN NULL;
END $$;

CREATE TRIGGER connections_continue_version BEFORE INSERT ON connections
    FOR EACH ROW EXECUTE FUNCTION continue_version('connection_id');
CREATE TRIGGER connections_keep_version AFTER DELETE ON connections
    FOR EACH ROW EXECUTE FUNCTION keep_version('connection_id');
CREATE TRIGGER resources_continue_version BEFORE INSERT ON resources
    FOR EACH ROW EXECUTE FUNCTION continue_version('resource_id');
CREATE TRIGGER resources_keep_version AFTER DELETE ON resources
    FOR EACH ROW EXECUTE FUNCTION keep_version('resource_id');
CREATE TRIGGER api_keys_continue_version BEFORE INSERT ON api_keys
    FOR EACH ROW EXECUTE FUNCTION continue_version('api_key_id');
CREATE TRIGGER api_keys_keep_version AFTER DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION keep_version('api_key_id');

CREATE TABLE processes (
    holder  text        PRIMARY KEY,
    kind    text        NOT NULL,
    info    json        NOT NULL,
    beat_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE idempotency_keys (
    environment_id uuid        NOT NULL,
    key            text        NOT NULL,
    body_hash      bytea       NOT NULL,
    batch_id       uuid        NOT NULL,          -- the creation is done when this batch exists
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (environment_id, key)
);
-- Serves the pruner: keys older than 24 h.
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
