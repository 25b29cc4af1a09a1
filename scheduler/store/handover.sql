-- name: plan_handovers
-- The parts of native batches that have none yet: one a flow.
INSERT INTO handovers (batch_id, resource_id, environment_id)
SELECT f.batch_id, f.resource_id, f.environment_id
FROM submissions s JOIN batch_flows f ON f.batch_id = s.batch_id
WHERE s.in_progress_at IS NOT NULL AND s.ended_at IS NULL AND s.execution_mode = 'native'
ON CONFLICT (batch_id, resource_id) DO NOTHING;

-- name: take_handovers
-- Due ones that nobody holds.
-- Params: $1 holder, $2 lease in seconds, $3 at most
UPDATE handovers h SET holder = $1, held_until = clock_timestamp() + $2 * interval '1 second'
FROM (
    SELECT batch_id, resource_id FROM handovers
    WHERE state <> 'done' AND due_at <= clock_timestamp() AND held_until <= clock_timestamp()
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
) due
WHERE h.batch_id = due.batch_id AND h.resource_id = due.resource_id
RETURNING h.*;

-- name: record_handover
-- Where it stands, if the holder still has it; the lease begins anew.
-- Params: $1 holder, $2 batch, $3 resource, $4 state, $5 file, $6 batch there, $7 asked at, $8 lease in seconds
UPDATE handovers SET state = $4, file_ref = $5, batch_ref = $6, asked_at = $7, tries = 0,
    held_until = clock_timestamp() + $8 * interval '1 second'
WHERE batch_id = $2 AND resource_id = $3 AND holder = $1 AND held_until > clock_timestamp();

-- name: put_off_handover
-- Look again later; nobody holds it meanwhile.
-- Params: $1 holder, $2 batch, $3 resource, $4 tries, $5 delay in seconds
UPDATE handovers SET tries = $4, due_at = clock_timestamp() + $5 * interval '1 second', held_until = '-infinity'
WHERE batch_id = $2 AND resource_id = $3 AND holder = $1;

-- name: finish_handover
-- Nothing more is to be done for it.
-- Params: $1 holder, $2 batch, $3 resource
UPDATE handovers SET state = 'done', held_until = '-infinity'
WHERE batch_id = $2 AND resource_id = $3 AND holder = $1 AND held_until > clock_timestamp();

-- name: unpause_handed
-- A batch that ended: what is retried of it runs here.
-- Params: $1 batch
UPDATE batches SET paused = false WHERE batch_id = $1 AND paused AND status IN ('COMPLETED', 'FAILED', 'CANCELLED');
