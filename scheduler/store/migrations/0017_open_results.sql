-- A batch that came as a file is not run again before its results are published.

CREATE OR REPLACE FUNCTION retry_batch(
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
        WHERE p_seqs IS NULL OR f.seq = ANY (p_seqs)
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
