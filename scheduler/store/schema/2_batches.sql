-- The schema after all migrations, for reading (a test compares the two). Change it by a migration.
-- Batches and what hangs on them. The big tables are partitioned by batch id: a UUIDv7, hence by time.
--
-- Plans are made once per session, maybe while the tables are empty and every way looks equally good. So a hot query
-- must leave only one way: some indexes have predicates that only the query they serve repeats, and lookups of many
-- rows are laterals with LIMIT 1, which take the whole key to the index (joins may leave half of it to a filter).

CREATE TABLE batches (
    batch_id                uuid        PRIMARY KEY,
    workspace_id            uuid        NOT NULL,
    environment_id          uuid        NOT NULL,
    shard                   integer     NOT NULL,
    total_items             integer     NOT NULL,
    stored                  integer     NOT NULL,            -- items written so far, seq 1 … stored
    completed               integer     NOT NULL DEFAULT 0,  -- outcomes of current runs, by status
    failed                  integer     NOT NULL DEFAULT 0,
    cancelled               integer     NOT NULL DEFAULT 0,
    sealed                  boolean     NOT NULL,            -- all items are here
    paused                  boolean     NOT NULL DEFAULT false,
    wants_item_update       boolean     NOT NULL,
    wants_batch_update      boolean     NOT NULL,
    last_event              bigint      NOT NULL,            -- whoever numbers an event locks this row first
    version                 bigint      NOT NULL DEFAULT 1,  -- raised by every control change
    estimated_prompt_tokens bigint      NOT NULL,
    prompt_tokens           bigint      NOT NULL DEFAULT 0,
    output_tokens           bigint      NOT NULL DEFAULT 0,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    completed_at            timestamptz,                     -- set with the end event, when every item has an outcome
    deadline                timestamptz,
    max_in_flight           integer,
    fine_priority           smallint,                        -- 0 … 255, in place of priority; null: priority counts
    max_retries             smallint,                        -- of each item; null: what its resource says
    caller                  text,                            -- address that it came from; null: its key does not count them
    api_key_id              uuid,
    type                    text        NOT NULL,
    status                  text        NOT NULL,
    priority                text        NOT NULL,
    error_message           text,
    receiver                text,                            -- host and port of the callback URL
    capacity                json        NOT NULL,
    callback                json,
    metadata                bytea,
    CONSTRAINT batches_belong_to_an_environment FOREIGN KEY (workspace_id, environment_id)
        REFERENCES environments (workspace_id, environment_id),
    CONSTRAINT batches_status_is_known CHECK (status IN (
        'PENDING',    -- until the first claim of one of its items
        'RUNNING',    -- until the flush that records its last outcome
        'COMPLETED',  -- every item completed
        'FAILED',     -- every item ended, at least one failed
        'CANCELLED'   -- by its owner; over only when completed_at is set
    )),
    CONSTRAINT batches_count_no_more_than_they_hold CHECK (completed + failed + cancelled <= stored),
    CONSTRAINT batches_are_called_back_at_a_receiver CHECK ((callback IS NULL) = (receiver IS NULL))
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
-- Serves the list, newest first.
CREATE INDEX batches_by_environment ON batches (environment_id, batch_id);
-- Serves the list of one status.
CREATE INDEX batches_by_status ON batches (status, environment_id, batch_id);
-- Serves the list of dead letters: batches that hold some, newest first.
CREATE INDEX batches_with_failures ON batches (environment_id, batch_id) WHERE failed > 0;
-- Serves the secretkeeper: secrets in the clear; holds nothing once all are sealed.
CREATE INDEX batches_with_clear_secrets ON batches (batch_id) WHERE callback ->> 'secret' IS NOT NULL;
-- Serves reconciler and repair: what must be known to the engine.
CREATE INDEX batches_open ON batches (shard, batch_id) WHERE status IN ('PENDING', 'RUNNING');
-- Serves the canceller: items still to be cancelled.
CREATE INDEX batches_cancelling ON batches (updated_at) WHERE status = 'CANCELLED' AND completed_at IS NULL;

CREATE TABLE batch_flows (
    batch_id       uuid     NOT NULL REFERENCES batches ON DELETE CASCADE,
    resource_id    uuid     NOT NULL,
    workspace_id   uuid     NOT NULL,
    environment_id uuid     NOT NULL,
    shard          integer  NOT NULL,
    no             smallint NOT NULL,                        -- what items.resource_no points at
    generation     bigint   NOT NULL DEFAULT 1,              -- of its window in Redis, raised by repair
    items          integer  NOT NULL,
    first          integer  NOT NULL,                        -- lowest and highest seq
    last           integer  NOT NULL,
    PRIMARY KEY (batch_id, no)
);
-- Serves the lookup of one flow, and the deletion of a resource: is it still used?
CREATE UNIQUE INDEX batch_flows_by_resource ON batch_flows (resource_id, batch_id);

-- Immutable. Bodies are the bytes that were given.
CREATE TABLE items (
    batch_id    uuid     NOT NULL,
    seq         integer  NOT NULL,
    in_tokens   integer  NOT NULL,
    out_tokens  integer  NOT NULL,
    resource_no smallint NOT NULL,
    endpoint    smallint NOT NULL,                           -- index into domain.batch.ENDPOINTS
    custom_id   bytea,                                       -- UTF-8; text could not hold a NUL
    request     bytea    NOT NULL,
    metadata    bytea,
    out_copies  integer,                                     -- out_tokens is a guess, for so many answers; null: requested
    out_most    integer,                                     -- most that a guess may reserve, by the request; null: all
    PRIMARY KEY (batch_id, seq)
) PARTITION BY RANGE (batch_id);

-- Rows only for items that were retried; no row means run 1.
CREATE TABLE item_runs (
    batch_id uuid    NOT NULL,
    seq      integer NOT NULL,
    run      integer NOT NULL,
    PRIMARY KEY (batch_id, seq)
) PARTITION BY RANGE (batch_id);

-- Insert-only. The primary key is the fence that makes records exactly-once.
CREATE TABLE outcomes (
    batch_id         uuid        NOT NULL,
    seq              integer     NOT NULL,
    run              integer     NOT NULL,
    event_no         bigint      NOT NULL,
    started_at       timestamptz,
    completed_at     timestamptz NOT NULL,
    prompt_tokens    integer,
    output_tokens    integer,
    retry_count      integer     NOT NULL,
    connection_id    uuid,
    status           text        NOT NULL,
    model            text,
    error_code       text,
    error_message    text,
    response_headers json,
    response         bytea,                                  -- the provider's answer, also a refusal
    http_status      smallint,                               -- of a refusal in response
    PRIMARY KEY (batch_id, seq, run),
    CONSTRAINT outcomes_status_is_final CHECK (status IN ('COMPLETED', 'FAILED', 'CANCELLED'))
) PARTITION BY RANGE (batch_id);
-- Serves the events; unique, so that no number can be given twice. Its predicate, always true, keeps it away from
-- probes of the primary key.
CREATE UNIQUE INDEX outcomes_by_event ON outcomes (batch_id, event_no) WHERE event_no > 0;
-- Serves the list of dead letters and the retry: the failed items of a batch.
CREATE INDEX outcomes_failed ON outcomes (batch_id, seq) WHERE status = 'FAILED';

-- Events of batches; those of items are the outcomes.
CREATE TABLE events (
    batch_id uuid        NOT NULL,
    event_no bigint      NOT NULL,
    at       timestamptz NOT NULL,
    action   text        NOT NULL,
    snapshot json        NOT NULL,                           -- the fields of the batch that change, as they were then
    PRIMARY KEY (batch_id, event_no)
) PARTITION BY RANGE (batch_id);

-- The outbox of callbacks. A payload is named, not copied.
CREATE TABLE deliveries (
    batch_id    uuid        NOT NULL,
    delivery_id uuid        NOT NULL,
    created_at  timestamptz NOT NULL,
    due_at      timestamptz,                                 -- when to try (again): also the end of a lease; null: over
    finished_at timestamptz,
    replayed_at timestamptz,                                 -- the 24 h of tries count from the last replay
    event_no    bigint,                                      -- kinds item and batch
    seq         integer,                                     -- kinds item and running
    run         integer,
    attempts    integer     NOT NULL DEFAULT 0,
    last_status integer,                                     -- HTTP status of the last try that got one
    target      smallint,                                    -- kind webhook: which of webhook_targets, and the event
    kind        text        NOT NULL,
    state       text        NOT NULL DEFAULT 'waiting',
    receiver    text        NOT NULL,
    holder      text,                                        -- whose lease it is
    reason      text,
    event       text,
    data        json,
    PRIMARY KEY (batch_id, delivery_id),
    CONSTRAINT deliveries_kind_is_known CHECK (kind IN (
        'running',  -- an attempt starts
        'item',     -- an item's outcome
        'batch',    -- a batch ended
        'webhook'   -- an event of a submission
    )),
    CONSTRAINT deliveries_state_is_known CHECK (state IN (
        'waiting',    -- for due_at, or leased until then
        'delivered',  -- acknowledged
        'dead'        -- refused, or given up
    )),
    CONSTRAINT deliveries_wait_for_a_time CHECK ((state = 'waiting') = (due_at IS NOT NULL)),
    CONSTRAINT deliveries_wait_until_finished CHECK ((state = 'waiting') = (finished_at IS NULL))
) PARTITION BY RANGE (batch_id);
-- Serves the claim: the oldest due of one receiver.
CREATE INDEX deliveries_by_receiver ON deliveries (receiver, due_at) WHERE state = 'waiting';
-- Serves the sender's timer: when is the next one due?
CREATE INDEX deliveries_by_due ON deliveries (due_at) WHERE finished_at IS NULL;
-- Serves the record of a try, which knows the delivery only.
CREATE INDEX deliveries_leased ON deliveries (delivery_id) WHERE holder IS NOT NULL;
-- A run that is told twice (its call left too late, its worker died) is told under one id.
CREATE UNIQUE INDEX deliveries_running ON deliveries (batch_id, seq, run) WHERE kind = 'running';

-- One item with the outcome of a run, null for the current run: what readers see. No row for an unknown item.
CREATE FUNCTION item_record(p_batch uuid, p_seq integer, p_run integer) RETURNS TABLE (
    workspace_id uuid, environment_id uuid, created_at timestamptz, batch_id uuid, seq integer, run integer,
    custom_id bytea, resource_id uuid, endpoint smallint, request bytea, metadata bytea, in_tokens integer,
    event_no bigint, status text, started_at timestamptz, completed_at timestamptz, prompt_tokens integer,
    output_tokens integer, retry_count integer, served_connection text, served_model text, error_code text,
    error_message text, response_headers json, response bytea
) LANGUAGE sql STABLE AS $$
    SELECT b.workspace_id, b.environment_id, b.created_at, i.batch_id, i.seq, r.run,
        i.custom_id, f.resource_id, i.endpoint, i.request, i.metadata, i.in_tokens,
        o.event_no, o.status, o.started_at, o.completed_at, o.prompt_tokens,
        o.output_tokens, o.retry_count, coalesce(c.name, o.connection_id::text), o.model, o.error_code,
        o.error_message, o.response_headers, o.response
    FROM (SELECT * FROM items i WHERE i.batch_id = p_batch AND i.seq = p_seq LIMIT 1) i
    CROSS JOIN (SELECT * FROM batches b WHERE b.batch_id = p_batch LIMIT 1) b
    CROSS JOIN LATERAL (SELECT * FROM batch_flows f WHERE f.batch_id = p_batch AND f.no = i.resource_no LIMIT 1) f
    CROSS JOIN (SELECT coalesce(
        p_run, (SELECT r.run FROM item_runs r WHERE r.batch_id = p_batch AND r.seq = p_seq), 1) AS run) r
    LEFT JOIN LATERAL (
        SELECT * FROM outcomes o WHERE o.batch_id = p_batch AND o.seq = p_seq AND o.run = r.run LIMIT 1) o ON true
    LEFT JOIN LATERAL (SELECT c.name FROM connections c WHERE c.connection_id = o.connection_id LIMIT 1) c ON true
    LIMIT 1
$$;

-- The lowest UUIDv7 of a time.
CREATE FUNCTION lowest_uuid7(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- A UUIDv7 of now (RFC 9562); Postgres has its own only since version 18.
CREATE FUNCTION new_uuid7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid
$$;

-- One weekly partition of one table, unless it exists or the net already holds rows of that week (those stay there).
CREATE FUNCTION add_partition(parent text, week timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    child text := format('%s_%s', parent, to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD'));
    low   uuid := lowest_uuid7(week);
    high  uuid := lowest_uuid7(week + interval '7 days');
    taken boolean;
BEGIN
    IF to_regclass(child) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE batch_id >= $1 AND batch_id < $2)', parent || '_rest')
        INTO taken USING low, high;
    IF taken THEN
        RETURN false;
    END IF;
    -- Made apart and attached: creating it in place would lock out every reader of the parent.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    PERFORM set_storage(child);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, child, low, high);
    RETURN true;
END $$;

-- Settings that partitions do not take from their parent.
CREATE FUNCTION set_storage(partition text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- Insert-mostly: vacuum early, so that index-only scans stay so; analyse early, so that plans see the growth.
    EXECUTE format('ALTER TABLE %I SET (autovacuum_vacuum_insert_scale_factor = 0.05, '
        'autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05)', partition);
    IF partition LIKE 'deliveries%' THEN
        EXECUTE format('ALTER TABLE %I SET (fillfactor = 80)', partition);
    END IF;
END $$;

-- Make this week's partitions and those of the weeks ahead; answers how many were made. Safe to repeat.
CREATE FUNCTION ensure_partitions(at timestamptz, weeks_ahead integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    this_week timestamptz := date_trunc('week', at, 'UTC');
    parent    text;
    made      integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['items', 'item_runs', 'outcomes', 'events', 'deliveries'] LOOP
        FOR week IN 0 .. weeks_ahead LOOP
            IF add_partition(parent, this_week + week * interval '7 days') THEN
                made := made + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN made;
END $$;

DO $$
BEGIN
    -- lz4 costs a fraction of pglz; a server built without it keeps its default.
    BEGIN
        ALTER TABLE items ALTER COLUMN request SET COMPRESSION lz4;
        ALTER TABLE outcomes ALTER COLUMN response SET COMPRESSION lz4;
    EXCEPTION WHEN feature_not_supported THEN
        NULL;
    END;
END $$;

-- The net: rows of weeks without a partition of their own.
CREATE TABLE items_rest PARTITION OF items DEFAULT;
CREATE TABLE item_runs_rest PARTITION OF item_runs DEFAULT;
CREATE TABLE outcomes_rest PARTITION OF outcomes DEFAULT;
CREATE TABLE events_rest PARTITION OF events DEFAULT;
CREATE TABLE deliveries_rest PARTITION OF deliveries DEFAULT;
SELECT set_storage('items_rest'), set_storage('item_runs_rest'), set_storage('outcomes_rest'),
    set_storage('events_rest'), set_storage('deliveries_rest');
