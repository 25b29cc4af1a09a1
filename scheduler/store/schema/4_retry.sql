-- Failed items run again (a test compares this folder with the migrations).

-- Run the failed items of an ended batch again: those of p_seqs, or all. Their old outcomes stay as history, the batch
-- is open again, and its events go on from the last number. Verdicts:
--   unknown   there is no such batch
--   open      it has not ended: its outcomes are not all known yet
--   nothing   none of them failed: unchanged
--   reopened
CREATE FUNCTION retry_batch(p_environment uuid, p_batch uuid, p_seqs integer[], OUT verdict text) LANGUAGE plpgsql AS $$
DECLARE
    ended_at timestamptz;
    again    integer;
BEGIN
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
    WITH failed_ones AS (
        SELECT o.seq, o.run FROM outcomes o
        WHERE o.batch_id = p_batch AND o.status = 'FAILED' AND (p_seqs IS NULL OR o.seq = ANY (p_seqs))
            AND o.run = coalesce((SELECT r.run FROM item_runs r WHERE r.batch_id = p_batch AND r.seq = o.seq), 1)
    ), raised AS (
        INSERT INTO item_runs (batch_id, seq, run)
        SELECT p_batch, f.seq, f.run + 1 FROM failed_ones f
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
