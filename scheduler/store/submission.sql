-- name: create_submission
-- A submission to be checked; no row when the environment does not exist.
-- Params: $1 batch, $2 workspace, $3 environment, $4 api key, $5 input file, $6 created, $7 expires,
-- $8 seconds that its files are kept, $9 fine priority, $10 retries, $11 source format, $12 execution mode,
-- $13 endpoint, $14 completion window, $15 metadata
INSERT INTO submissions (
    batch_id, workspace_id, environment_id, api_key_id, input_file_id, created_at, expires_at, output_expires_after_s,
    fine_priority, max_retries, source_format, execution_mode, endpoint, completion_window, metadata)
SELECT $1, e.workspace_id, e.environment_id, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
FROM environments e WHERE e.environment_id = $3 AND e.workspace_id = $2
RETURNING batch_id;

-- name: create_targets
-- Where its events go.
-- Params: $1 batch, $2 no, $3 format, $4 url, $5 receiver, $6 sealed secrets
INSERT INTO webhook_targets (batch_id, no, format, url, receiver, secrets) VALUES ($1, $2, $3, $4, $5, $6);

-- name: get_submission
-- One submission with its batch.
-- Params: $1 environment, $2 batch
SELECT s.*, b.stored AS batch_items, b.completed, b.failed, b.cancelled, b.last_event, b.status,
    b.completed_at AS batch_ended_at,
    (SELECT true FROM webhook_targets t WHERE t.batch_id = s.batch_id AND t.format = 'brim' LIMIT 1) IS NOT NULL
        AS wants_items
FROM submissions s LEFT JOIN batches b ON b.batch_id = s.batch_id
WHERE s.batch_id = $2 AND s.environment_id = $1;

-- name: get_submissions
-- Many submissions of any environment, in order.
-- Params: $1 batches
SELECT s.*, b.stored AS batch_items, b.completed, b.failed, b.cancelled, b.last_event, b.status,
    b.completed_at AS batch_ended_at,
    (SELECT true FROM webhook_targets t WHERE t.batch_id = s.batch_id AND t.format = 'brim' LIMIT 1) IS NOT NULL
        AS wants_items
FROM submissions s LEFT JOIN batches b ON b.batch_id = s.batch_id
WHERE s.batch_id = ANY ($1::uuid[]) ORDER BY s.batch_id;

-- name: submissions_since
-- Submissions of any environment, in order.
-- Params: $1 above this batch, $2 how many
SELECT batch_id FROM submissions WHERE batch_id > $1 ORDER BY batch_id LIMIT $2;

-- name: open_submissions
-- All that have not ended. Uses submissions_unchecked and submissions_running.
SELECT batch_id FROM submissions WHERE in_progress_at IS NULL AND ended_at IS NULL
UNION ALL
SELECT batch_id FROM submissions WHERE in_progress_at IS NOT NULL AND ended_at IS NULL;

-- name: list_submissions
-- Newest first. Stated over whole index entries, so that only submissions_by_environment can serve.
-- Params: $1 environment, $2 source format, $3 before this batch, $4 how many
SELECT s.*, b.stored AS batch_items, b.completed, b.failed, b.cancelled, b.last_event, b.status,
    b.completed_at AS batch_ended_at,
    (SELECT true FROM webhook_targets t WHERE t.batch_id = s.batch_id AND t.format = 'brim' LIMIT 1) IS NOT NULL
        AS wants_items
FROM submissions s LEFT JOIN batches b ON b.batch_id = s.batch_id
WHERE (s.environment_id, s.source_format, s.batch_id) < ($1, $2, $3)
    AND (s.environment_id, s.source_format, s.batch_id) >= ($1, $2, '00000000-0000-0000-0000-000000000000')
ORDER BY s.environment_id DESC, s.source_format DESC, s.batch_id DESC LIMIT $4;

-- name: list_submissions_before
-- Those right before one in the list, the nearest first. Stated as list_submissions is.
-- Params: $1 environment, $2 source format, $3 after this batch, $4 how many
SELECT s.*, b.stored AS batch_items, b.completed, b.failed, b.cancelled, b.last_event, b.status,
    b.completed_at AS batch_ended_at,
    (SELECT true FROM webhook_targets t WHERE t.batch_id = s.batch_id AND t.format = 'brim' LIMIT 1) IS NOT NULL
        AS wants_items
FROM submissions s LEFT JOIN batches b ON b.batch_id = s.batch_id
WHERE (s.environment_id, s.source_format, s.batch_id) > ($1, $2, $3)
    AND (s.environment_id, s.source_format, s.batch_id) <= ($1, $2, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
ORDER BY s.environment_id, s.source_format, s.batch_id LIMIT $4;

-- name: stop_submission
-- Stop it for its owner, or because its time is over; whether that changed anything.
-- Params: $1 environment, $2 batch, $3 because of its deadline
SELECT stop_submission($1, $2, $3);

-- name: grip_submission
-- Lease the oldest unchecked one that nobody holds. Uses submissions_unchecked.
-- Params: $1 holder, $2 lease in seconds
WITH free AS (
    SELECT s.batch_id FROM submissions s
    WHERE s.in_progress_at IS NULL AND s.ended_at IS NULL
        AND (s.held_until IS NULL OR s.held_until < clock_timestamp())
    ORDER BY s.batch_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE submissions s SET holder = $1, held_until = clock_timestamp() + $2 * interval '1 second'
FROM free f WHERE s.batch_id = f.batch_id RETURNING s.batch_id;

-- name: keep_grip
-- So many items are stored and the lease goes on; no row when it is another's by now, or the submission was cancelled.
-- Params: $1 batch, $2 holder, $3 lease in seconds, $4 items stored
UPDATE submissions SET stored = $4, held_until = clock_timestamp() + $3 * interval '1 second'
WHERE batch_id = $1 AND holder = $2 AND in_progress_at IS NULL AND ended_at IS NULL AND cancelling_at IS NULL;

-- name: keep_grip_of_cancelled
-- The same for one that is being cleared: cancelled or not.
-- Params: $1 batch, $2 holder, $3 lease in seconds
UPDATE submissions SET held_until = clock_timestamp() + $3 * interval '1 second'
WHERE batch_id = $1 AND holder = $2 AND in_progress_at IS NULL AND ended_at IS NULL;

-- name: clear_items
-- Items of a submission that is no batch yet; answers whether there were any.
-- Params: $1 batch, $2 how many at most
WITH doomed AS (SELECT i.seq FROM items i WHERE i.batch_id = $1 ORDER BY i.seq LIMIT $2), gone AS (
    DELETE FROM items i USING doomed WHERE i.batch_id = $1 AND i.seq = doomed.seq RETURNING 1
)
SELECT count(*) > 0 FROM gone;

-- name: become_batch
-- The submission is a batch now; no row when the lease is lost or it was cancelled.
-- Params: $1 batch, $2 holder, $3 model
UPDATE submissions SET in_progress_at = clock_timestamp(), model = $3, holder = NULL, held_until = NULL
WHERE batch_id = $1 AND holder = $2 AND in_progress_at IS NULL AND ended_at IS NULL AND cancelling_at IS NULL;

-- name: refuse_submission
-- Its input is bad; no row when the lease is lost or it was cancelled.
-- Params: $1 batch, $2 holder, $3 faults
UPDATE submissions SET ending = 'failed', ended_at = clock_timestamp(), faults = $3, stored = 0, holder = NULL,
    held_until = NULL
WHERE batch_id = $1 AND holder = $2 AND in_progress_at IS NULL AND ended_at IS NULL AND cancelling_at IS NULL;

-- name: give_up_submission
-- It was cancelled before it became a batch; no row when the lease is lost.
-- Params: $1 batch, $2 holder
UPDATE submissions SET ending = 'cancelled', ended_at = clock_timestamp(), stored = 0, holder = NULL, held_until = NULL
WHERE batch_id = $1 AND holder = $2 AND in_progress_at IS NULL AND ended_at IS NULL AND cancelling_at IS NOT NULL;

-- name: let_go
-- End the leases of a holder.
-- Params: $1 holder
UPDATE submissions SET holder = NULL, held_until = NULL WHERE holder = $1 AND ended_at IS NULL;

-- name: hold_running
-- Renew a holder's leases that are half over, and take more of those that nobody has, the oldest first. Uses
-- submissions_running.
-- Params: $1 holder, $2 lease in seconds, $3 most in all
WITH mine AS (
    SELECT s.batch_id FROM submissions s
    WHERE s.in_progress_at IS NOT NULL AND s.ended_at IS NULL AND s.holder = $1
        AND s.held_until < clock_timestamp() + $2 * interval '0.5 seconds'
    FOR NO KEY UPDATE SKIP LOCKED
), free AS (
    SELECT s.batch_id FROM submissions s
    WHERE s.in_progress_at IS NOT NULL AND s.ended_at IS NULL AND s.holder IS DISTINCT FROM $1
        AND (s.held_until IS NULL OR s.held_until < clock_timestamp())
    ORDER BY s.batch_id LIMIT greatest(0, $3 - (
        SELECT count(*) FROM submissions m
        WHERE m.in_progress_at IS NOT NULL AND m.ended_at IS NULL AND m.holder = $1))
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE submissions s SET holder = $1, held_until = clock_timestamp() + $2 * interval '1 second'
FROM (SELECT batch_id FROM mine UNION ALL SELECT batch_id FROM free) t WHERE s.batch_id = t.batch_id;

-- name: held_running
-- Those that a holder has, and whether there is anything to do for them. Uses submissions_running.
-- Params: $1 holder
SELECT s.batch_id, b.last_event > s.told_event OR b.completed_at IS NOT NULL OR s.expires_at <= clock_timestamp()
    OR (s.started_at IS NULL AND b.status <> 'PENDING') AS is_due
FROM submissions s CROSS JOIN LATERAL (SELECT * FROM batches b WHERE b.batch_id = s.batch_id LIMIT 1) b
WHERE s.in_progress_at IS NOT NULL AND s.ended_at IS NULL AND s.holder = $1 ORDER BY s.batch_id;

-- name: results
-- Outcomes in the order of their events with what the files tell of their items. "event_no > 0" names the index
-- outcomes_by_event. The size of an answer is known without unpacking it.
-- Params: $1 batch, $2 after this event, $3 up to this event, $4 how many at most, $5 bytes of answers at most, of more
-- than one
WITH numbered AS (
    SELECT o.seq, o.run, o.event_no, coalesce(octet_length(o.response), 0) AS size_bytes FROM outcomes o
    WHERE o.batch_id = $1 AND o.event_no > $2 AND o.event_no <= $3 AND o.event_no > 0
    ORDER BY o.event_no LIMIT $4
), summed AS (
    SELECT n.*, sum(n.size_bytes) OVER (ORDER BY n.event_no) - n.size_bytes AS before_bytes FROM numbered n
)
SELECT s.seq, s.event_no, i.custom_id, i.endpoint, o.status, o.error_code, o.error_message, o.response, o.http_status,
    o.response_headers
FROM summed s
CROSS JOIN LATERAL (
    SELECT * FROM outcomes o WHERE o.batch_id = $1 AND o.seq = s.seq AND o.run = s.run LIMIT 1) o
CROSS JOIN LATERAL (SELECT * FROM items i WHERE i.batch_id = $1 AND i.seq = s.seq LIMIT 1) i
WHERE s.before_bytes = 0 OR s.before_bytes + s.size_bytes <= $5
ORDER BY s.event_no;

-- name: advance_written
-- The files are written up to here; no row when they were not as expected or the lease is lost.
-- Params: $1 batch, $2 holder, $3 told event before, $4 told event now, $5 to $7 bytes, lines, CRC of the output,
-- $8 to $10 of the errors, $11 to $14 tokens: input, cached, output, reasoning
UPDATE submissions SET told_event = $4, output_bytes = $5, output_lines = $6, output_crc = $7, error_bytes = $8,
    error_lines = $9, error_crc = $10, input_tokens = $11, cached_tokens = $12, output_tokens = $13,
    reasoning_tokens = $14
WHERE batch_id = $1 AND holder = $2 AND told_event = $3 AND ended_at IS NULL;

-- name: start_submission
-- Its start is told; no row when it was, or the lease is lost.
-- Params: $1 batch, $2 holder
UPDATE submissions SET started_at = clock_timestamp()
WHERE batch_id = $1 AND holder = $2 AND started_at IS NULL AND ended_at IS NULL;

-- name: end_submission
-- Its results are published; no row when it has ended or the lease is lost.
-- Params: $1 batch, $2 holder, $3 ending, $4 when, $5 output file, $6 error file
UPDATE submissions SET ending = $3, ended_at = $4, output_file_id = $5, error_file_id = $6, holder = NULL,
    held_until = NULL
WHERE batch_id = $1 AND holder = $2 AND ended_at IS NULL;

-- name: post_webhooks
-- An event for all targets that want it.
-- Params: $1 batch, $2 events, $3 what they carry, as JSON
SELECT sum(post_webhooks($1, e.event, e.data::json)) FROM unnest($2::text[], $3::text[]) AS e (event, data);

-- name: unended
-- Those that have not ended.
-- Params: $1 batches
SELECT batch_id FROM submissions WHERE batch_id = ANY ($1::uuid[]) AND ended_at IS NULL;
