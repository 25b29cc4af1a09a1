-- What batches that come as files need of the engine: fine priorities, their own number of retries, and the provider's
-- refusals as it gave them.

ALTER TABLE batches ADD COLUMN fine_priority smallint;  -- 0 … 255, in place of priority; null: priority counts
ALTER TABLE batches ADD COLUMN max_retries smallint;    -- of each item; null: what its resource says

ALTER TABLE outcomes ADD COLUMN http_status smallint;   -- of the answer in response, where the item FAILED

DROP FUNCTION record_outcomes(
    uuid[], integer[], integer[], text[], text[], text[], bytea[], text[], integer[], integer[], integer[], uuid[],
    text[], timestamptz[], timestamptz[], timestamptz[], boolean);

-- Record the outcomes of many items of many batches: the flush. One row comes back:
--   verdicts     per outcome: recorded | duplicate | stale | deferred (domain.outcome.Recorded)
--   batch_ids, workspace_ids, environment_ids, last_events, ended: the batches that could be locked
--   delivered    how many deliveries were written
CREATE FUNCTION record_outcomes(
    p_batch uuid[], p_seq integer[], p_run integer[], p_status text[], p_error_code text[], p_error_message text[],
    p_response bytea[], p_headers text[], p_prompt_tokens integer[], p_output_tokens integer[],
    p_retry_count integer[], p_connection uuid[], p_model text[], p_started timestamptz[],
    p_completed timestamptz[], p_valid_until timestamptz[], p_http_status smallint[], p_wait boolean,
    OUT verdicts text[], OUT batch_ids uuid[], OUT workspace_ids uuid[], OUT environment_ids uuid[],
    OUT last_events bigint[], OUT ended boolean[], OUT delivered integer
) LANGUAGE plpgsql AS $$
DECLARE
    locked      uuid[];
    at          timestamptz;
    full_ones   uuid[];
    ended_ones  uuid[] := '{}';
    end_posts   integer;
    new_rows    integer;
    wrote_rows  integer;
BEGIN
    IF p_wait THEN
        SELECT array_agg(l.batch_id) INTO locked FROM (
            SELECT b.batch_id FROM batches b WHERE b.batch_id = ANY (p_batch)
            ORDER BY b.batch_id FOR NO KEY UPDATE
        ) l;
    ELSE
        SELECT array_agg(l.batch_id) INTO locked FROM (
            SELECT b.batch_id FROM batches b WHERE b.batch_id = ANY (p_batch)
            ORDER BY b.batch_id FOR NO KEY UPDATE SKIP LOCKED
        ) l;
    END IF;
    -- After the locks: a deadline that passed while we waited has passed. And the next statement takes a new snapshot,
    -- so it sees all that earlier holders of these locks committed.
    at := clock_timestamp();

    WITH held AS MATERIALIZED (
        SELECT b.batch_id, b.last_event, b.stored, b.wants_item_update, b.receiver
        FROM batches b WHERE b.batch_id = ANY (locked)
    ), given AS MATERIALIZED (
        SELECT * FROM unnest(
            p_batch, p_seq, p_run, p_status, p_error_code, p_error_message, p_response, p_headers, p_prompt_tokens,
            p_output_tokens, p_retry_count, p_connection, p_model, p_started, p_completed, p_valid_until, p_http_status
        ) WITH ORDINALITY AS g (
            batch_id, seq, run, status, error_code, error_message, response, response_headers, prompt_tokens,
            output_tokens, retry_count, connection_id, model, started_at, completed_at, valid_until, http_status, ord)
    ), judged AS MATERIALIZED (
        -- Scalar subqueries, each one probe of a primary key whatever the statistics say.
        SELECT g.*, h.last_event, CASE
            WHEN h.batch_id IS NULL AND (SELECT true FROM batches b WHERE b.batch_id = g.batch_id) THEN 'deferred'
            WHEN h.batch_id IS NULL THEN 'stale'
            WHEN (SELECT true FROM outcomes o
                  WHERE o.batch_id = g.batch_id AND o.seq = g.seq AND o.run = g.run) THEN 'duplicate'
            WHEN g.valid_until < at THEN 'stale'
            WHEN g.seq NOT BETWEEN 1 AND h.stored THEN 'stale'
            WHEN g.run <> coalesce((SELECT r.run FROM item_runs r
                                    WHERE r.batch_id = g.batch_id AND r.seq = g.seq), 1) THEN 'stale'
            ELSE 'new'
        END AS verdict
        FROM given g LEFT JOIN held h ON h.batch_id = g.batch_id
    ), chosen AS (
        -- Given twice: the first one counts. (One item has one current run, so no need to look at the run.)
        SELECT j.*, j.verdict = 'new' AND 1 = row_number() OVER (
            PARTITION BY j.batch_id, j.seq, j.verdict = 'new' ORDER BY j.ord) AS is_new
        FROM judged j
    ), numbered AS MATERIALIZED (
        SELECT c.*, c.last_event + row_number() OVER (PARTITION BY c.batch_id, c.is_new ORDER BY c.ord) AS event_no
        FROM chosen c
    ), written AS (
        INSERT INTO outcomes (
            batch_id, seq, run, event_no, started_at, completed_at, prompt_tokens, output_tokens, retry_count,
            connection_id, status, model, error_code, error_message, response_headers, response, http_status)
        SELECT n.batch_id, n.seq, n.run, n.event_no, n.started_at, n.completed_at, n.prompt_tokens, n.output_tokens,
            n.retry_count, n.connection_id, n.status, n.model, n.error_code, n.error_message,
            n.response_headers::json, n.response, n.http_status
        FROM numbered n WHERE n.is_new ORDER BY n.ord
        ON CONFLICT (batch_id, seq, run) DO NOTHING
        RETURNING batch_id, seq, run, event_no, status, prompt_tokens, output_tokens
    ), counted AS (
        SELECT w.batch_id, count(*) AS events,
            count(*) FILTER (WHERE w.status = 'COMPLETED') AS completed,
            count(*) FILTER (WHERE w.status = 'FAILED') AS failed,
            count(*) FILTER (WHERE w.status = 'CANCELLED') AS cancelled,
            coalesce(sum(w.prompt_tokens), 0) AS prompt_tokens, coalesce(sum(w.output_tokens), 0) AS output_tokens
        FROM written w GROUP BY w.batch_id
    ), moved AS (
        UPDATE batches b SET
            completed = b.completed + c.completed, failed = b.failed + c.failed,
            cancelled = b.cancelled + c.cancelled, last_event = b.last_event + c.events,
            prompt_tokens = b.prompt_tokens + c.prompt_tokens, output_tokens = b.output_tokens + c.output_tokens,
            status = CASE b.status WHEN 'PENDING' THEN 'RUNNING' ELSE b.status END, updated_at = at
        FROM counted c WHERE b.batch_id = c.batch_id
        RETURNING b.batch_id, b.sealed AND b.completed + b.failed + b.cancelled = b.stored AS is_full
    ), posted AS (
        INSERT INTO deliveries (batch_id, delivery_id, created_at, due_at, event_no, seq, run, kind, receiver)
        SELECT w.batch_id, new_uuid7(), at, at, w.event_no, w.seq, w.run, 'item', h.receiver
        FROM written w JOIN held h ON h.batch_id = w.batch_id WHERE h.wants_item_update
        RETURNING 1
    )
    SELECT
        (SELECT array_agg(CASE
            WHEN n.is_new THEN 'recorded'
            WHEN n.verdict = 'new' THEN 'duplicate'
            ELSE n.verdict
        END ORDER BY n.ord) FROM numbered n),
        (SELECT array_agg(m.batch_id) FROM moved m WHERE m.is_full),
        (SELECT count(*) FROM posted), (SELECT count(*) FROM numbered n WHERE n.is_new), (SELECT count(*) FROM written)
    INTO verdicts, full_ones, delivered, new_rows, wrote_rows;

    IF new_rows <> wrote_rows THEN
        RAISE EXCEPTION 'an outcome was written without the lock of its batch' USING ERRCODE = 'internal_error';
    END IF;
    IF full_ones IS NOT NULL THEN
        SELECT e.ended, e.delivered INTO ended_ones, end_posts FROM end_full_batches(full_ones) e;
        delivered := delivered + end_posts;
    END IF;
    SELECT array_agg(b.batch_id), array_agg(b.workspace_id), array_agg(b.environment_id), array_agg(b.last_event),
        array_agg(b.completed_at IS NOT NULL)
    INTO batch_ids, workspace_ids, environment_ids, last_events, ended
    FROM batches b WHERE b.batch_id = ANY (locked);
END $$;
