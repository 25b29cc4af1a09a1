-- The schema after all migrations, for reading (a test compares the two). Change it by a migration.
-- Batches that come as files, and are answered with files.

CREATE TABLE submissions (
    batch_id               uuid        PRIMARY KEY,          -- of the batch that it becomes when all its lines are good
    workspace_id           uuid        NOT NULL,
    environment_id         uuid        NOT NULL,
    api_key_id             uuid,
    input_file_id          uuid        NOT NULL,
    created_at             timestamptz NOT NULL,
    expires_at             timestamptz NOT NULL,             -- end of the completion window
    in_progress_at         timestamptz,                      -- its batch exists
    started_at             timestamptz,                      -- its start was told
    cancelling_at          timestamptz,                      -- its owner cancelled it
    expiring_at            timestamptz,                      -- its deadline stopped it
    ended_at               timestamptz,
    held_until             timestamptz,                      -- lease of whoever checks it, or writes its results
    stored                 integer     NOT NULL DEFAULT 0,   -- items that the present check has stored
    output_expires_after_s integer,
    fine_priority          smallint    NOT NULL,
    max_retries            smallint    NOT NULL,
    told_event             bigint      NOT NULL DEFAULT 0,   -- outcomes up to this one are in the files
    output_bytes           bigint      NOT NULL DEFAULT 0,   -- of the files so far: bytes, lines, CRC-32
    output_lines           integer     NOT NULL DEFAULT 0,
    output_crc             bigint      NOT NULL DEFAULT 0,
    error_bytes            bigint      NOT NULL DEFAULT 0,
    error_lines            integer     NOT NULL DEFAULT 0,
    error_crc              bigint      NOT NULL DEFAULT 0,
    input_tokens           bigint      NOT NULL DEFAULT 0,   -- as the answers in the files report them
    cached_tokens          bigint      NOT NULL DEFAULT 0,
    output_tokens          bigint      NOT NULL DEFAULT 0,
    reasoning_tokens       bigint      NOT NULL DEFAULT 0,
    output_file_id         uuid,
    error_file_id          uuid,
    holder                 text,
    source_format          text        NOT NULL,
    execution_mode         text        NOT NULL,
    endpoint               text        NOT NULL,
    completion_window      text        NOT NULL,
    ending                 text,
    model                  text,                             -- the resource of all its lines, if it is one
    metadata               json,
    faults                 json,                             -- the bad lines, of one that FAILED
    CONSTRAINT submissions_belong_to_an_environment FOREIGN KEY (workspace_id, environment_id)
        REFERENCES environments (workspace_id, environment_id),
    CONSTRAINT submissions_ending_is_known CHECK (ending IN (
        'completed',  -- every item has its outcome, whatever that is
        'failed',     -- its input was refused: nothing ran
        'expired',    -- by its deadline; what was finished is kept
        'cancelled'   -- by its owner; what was finished is kept
    )),
    CONSTRAINT submissions_end_once CHECK ((ending IS NULL) = (ended_at IS NULL))
) WITH (fillfactor = 60);
-- Serves the list, newest first.
CREATE INDEX submissions_by_environment ON submissions (environment_id, source_format, batch_id);
-- Serves the ingester: what is to be checked.
CREATE INDEX submissions_unchecked ON submissions (batch_id) WHERE in_progress_at IS NULL AND ended_at IS NULL;
-- Serves the publisher: whose results are to be written.
CREATE INDEX submissions_running ON submissions (batch_id) WHERE in_progress_at IS NOT NULL AND ended_at IS NULL;

-- Where the events of a submission go; fixed when it is made.
CREATE TABLE webhook_targets (
    batch_id uuid     NOT NULL REFERENCES submissions ON DELETE CASCADE,
    no       smallint NOT NULL,
    format   text     NOT NULL,
    url      text     NOT NULL,
    receiver text     NOT NULL,                              -- host and port of the URL
    secrets  bytea[],                                        -- sealed, the newest first; null: those of the settings
    PRIMARY KEY (batch_id, no),
    CONSTRAINT webhook_targets_format_is_known CHECK (format IN (
        'openai',  -- the ends of batches only
        'brim'     -- every event
    ))
);

-- Write an event of a submission for all its targets that want it.
CREATE FUNCTION post_webhooks(p_batch uuid, p_event text, p_data json) RETURNS integer LANGUAGE sql AS $$
    WITH posted AS (
        INSERT INTO deliveries (batch_id, delivery_id, created_at, due_at, kind, receiver, target, event, data)
        SELECT t.batch_id, new_uuid7(), clock_timestamp(), clock_timestamp(), 'webhook', t.receiver, t.no, p_event, p_data
        FROM webhook_targets t
        WHERE t.batch_id = p_batch AND (t.format = 'brim' OR p_event IN (
            'batch.completed', 'batch.failed', 'batch.expired', 'batch.cancelled'))
        RETURNING 1
    )
    SELECT count(*)::integer FROM posted
$$;

-- Stop a submission for its owner (p_expired false) or because its time is over; its batch too, if there is one.
-- Without effect on one that ended, that is stopped already, or whose items are all finished.
CREATE FUNCTION stop_submission(p_environment uuid, p_batch uuid, p_expired boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    -- The batch first, like every writer that numbers events.
    PERFORM FROM batches b WHERE b.batch_id = p_batch FOR NO KEY UPDATE;
    UPDATE submissions s SET
        cancelling_at = CASE WHEN NOT p_expired THEN clock_timestamp() END,
        expiring_at = CASE WHEN p_expired THEN clock_timestamp() END
    WHERE s.batch_id = p_batch AND s.environment_id = p_environment AND s.ended_at IS NULL
        AND s.cancelling_at IS NULL AND s.expiring_at IS NULL AND (NOT p_expired OR s.in_progress_at IS NOT NULL)
        AND NOT EXISTS (
            SELECT FROM batches b WHERE b.batch_id = p_batch AND (b.completed_at IS NOT NULL OR b.status = 'CANCELLED'));
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM cancel_batch(p_environment, p_batch);
    RETURN true;
END $$;
