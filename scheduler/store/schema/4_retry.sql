-- Failed items: found, and run again (a test compares this folder with the migrations).

-- The items of a batch whose current run ended FAILED, behind a seq, in order: those with that error code and of that
-- resource, null for any. Most: null for all. runnable: it is a request; not a line of an upload that was no item, which is
-- kept as a JSON text. Such a line never started, and has its code from the check of the upload: only of those that may be
-- one the request is looked at, which lies out of line if it is long.
CREATE FUNCTION failed_items(p_batch uuid, p_code text, p_resource uuid, p_after integer, p_most bigint) RETURNS TABLE (
    seq integer, run integer, custom_id bytea, resource_id uuid, error_code text, error_message text,
    retry_count integer, completed_at timestamptz, runnable boolean
) LANGUAGE sql STABLE AS $$
    SELECT o.seq, o.run, i.custom_id, f.resource_id, o.error_code, o.error_message, o.retry_count, o.completed_at,
        CASE WHEN o.started_at IS NOT NULL OR o.error_code IN ('DEADLINE_EXCEEDED', 'DEAD_LETTER') THEN true
            ELSE substring(i.request FROM 1 FOR 1) <> '\x22' END
    FROM outcomes o
    CROSS JOIN LATERAL (SELECT * FROM items i WHERE i.batch_id = p_batch AND i.seq = o.seq LIMIT 1) i
    CROSS JOIN LATERAL (SELECT * FROM batch_flows f WHERE f.batch_id = p_batch AND f.no = i.resource_no LIMIT 1) f
    WHERE o.batch_id = p_batch AND o.status = 'FAILED' AND o.seq > p_after
        AND o.run = coalesce((SELECT r.run FROM item_runs r WHERE r.batch_id = p_batch AND r.seq = o.seq), 1)
        AND (p_code IS NULL OR o.error_code = p_code) AND (p_resource IS NULL OR f.resource_id = p_resource)
    ORDER BY o.seq LIMIT p_most
$$;

-- Run failed items of an ended batch again: those of p_seqs, with that error code and of that resource; null for any.
-- Their old outcomes stay as history, the batch is open again, and its events go on from the last number. again: how
-- many. Verdicts:
--   unknown   there is no such batch
--   open      it has not ended: its outcomes are not all known yet
--   nothing   none of them failed, or could be run: unchanged
--   reopened
CREATE FUNCTION retry_batch(
    p_environment uuid, p_batch uuid, p_seqs integer[], p_code text, p_resource uuid, OUT verdict text,
    OUT again integer
) LANGUAGE plpgsql AS $$
DECLARE
    ended_at timestamptz;
BEGIN
    again := 0;
    -- Every writer of outcomes takes this lock first, so none comes between the look at the runs and their rise.
    SELECT b.completed_at INTO ended_at FROM batches b
    WHERE b.batch_id = p_batch AND b.environment_id = p_environment FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        verdict := 'unknown';
        RETURN;
    END IF;
    -- One that came as a file is open until its results are published: they tell of each item once.
    IF ended_at IS NULL OR EXISTS (SELECT FROM submissions s WHERE s.batch_id = p_batch AND s.ended_at IS NULL) THEN
        verdict := 'open';
        RETURN;
    END IF;
    WITH raised AS (
        INSERT INTO item_runs (batch_id, seq, run)
        SELECT p_batch, f.seq, f.run + 1 FROM failed_items(p_batch, p_code, p_resource, 0, NULL) f
        WHERE f.runnable AND (p_seqs IS NULL OR f.seq = ANY (p_seqs))
        ON CONFLICT (batch_id, seq) DO UPDATE SET run = EXCLUDED.run
        RETURNING 1
    )
    SELECT count(*) INTO again FROM raised;
    IF again = 0 THEN
        verdict := 'nothing';
        RETURN;
    END IF;
    UPDATE batches b SET failed = b.failed - again, status = 'RUNNING', completed_at = NULL, error_message = NULL,
        version = b.version + 1, updated_at = clock_timestamp()
    WHERE b.batch_id = p_batch;
    verdict := 'reopened';
END $$;
