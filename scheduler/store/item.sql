-- name: item
-- One item with the outcome of its current run.
-- Params: $1 environment, $2 batch, $3 seq
SELECT r.* FROM item_record($2, $3, NULL) r WHERE r.environment_id = $1;

-- name: item_page
-- Items of a batch in order, with the outcomes of their current runs.
-- Params: $1 batch, $2 after this seq, $3 how many
SELECT r.*
FROM (SELECT i.seq FROM items i WHERE i.batch_id = $1 AND i.seq > $2 ORDER BY i.seq LIMIT $3) page
CROSS JOIN LATERAL item_record($1, page.seq, NULL) r
ORDER BY page.seq;

-- name: items
-- Some items of a batch in order, with the outcomes of their current runs.
-- Params: $1 batch, $2 seqs
SELECT r.* FROM unnest($2::integer[]) AS wanted (seq) CROSS JOIN LATERAL item_record($1, wanted.seq, NULL) r
ORDER BY wanted.seq;

-- name: load
-- What a dispatcher needs of its claimed entries, with the shard's epoch; one row with nulls when none is known.
-- Params: $1 shard, $2 batches, $3 seqs, $4 runs
SELECT s.epoch, clock_timestamp() AS database_now, l.*
FROM shards s LEFT JOIN LATERAL (
    SELECT b.batch_id, i.seq, w.run, b.status, b.deadline, b.wants_item_update, b.max_retries, f.resource_id, i.endpoint, i.request,
        i.out_tokens, i.out_copies, i.out_most,
        coalesce((SELECT r.run FROM item_runs r WHERE r.batch_id = w.batch_id AND r.seq = w.seq), 1) AS current_run,
        (SELECT true FROM outcomes o
         WHERE o.batch_id = w.batch_id AND o.seq = w.seq AND o.run = w.run) AS has_outcome
    FROM unnest($2::uuid[], $3::integer[], $4::integer[]) AS w (batch_id, seq, run)
    CROSS JOIN LATERAL (SELECT * FROM batches b WHERE b.batch_id = w.batch_id LIMIT 1) b
    CROSS JOIN LATERAL (SELECT * FROM items i WHERE i.batch_id = w.batch_id AND i.seq = w.seq LIMIT 1) i
    CROSS JOIN LATERAL (
        SELECT * FROM batch_flows f WHERE f.batch_id = w.batch_id AND f.no = i.resource_no LIMIT 1) f
) l ON true
WHERE s.shard = $1;

-- name: window
-- Items of one flow within a range of seqs that have no outcome for their current run.
-- Params: $1 batch, $2 number of the resource, $3 after this seq, $4 up to this seq, $5 how many
SELECT i.seq, r.run, i.in_tokens, i.out_tokens, i.out_copies, i.out_most
FROM items i CROSS JOIN LATERAL (
    SELECT coalesce((SELECT r.run FROM item_runs r WHERE r.batch_id = $1 AND r.seq = i.seq), 1) AS run OFFSET 0) r
WHERE i.batch_id = $1 AND i.resource_no = $2 AND i.seq > $3 AND i.seq <= $4
    AND (SELECT true FROM outcomes o WHERE o.batch_id = $1 AND o.seq = i.seq AND o.run = r.run) IS NULL
ORDER BY i.seq LIMIT $5;

-- name: crashes
-- Of items within a range of seqs that are suspects: how many holders died with that run.
-- Params: $1 batch, $2 from this seq, $3 up to this seq
SELECT seq, run, crashes FROM item_crashes WHERE batch_id = $1 AND seq BETWEEN $2 AND $3;

-- name: note_crashes
-- So many holders died with these runs. What is known already is never lowered; batches that are gone are left out.
-- Params: $1 batches, $2 seqs, $3 runs, $4 crashes
INSERT INTO item_crashes AS c (batch_id, seq, run, crashes)
SELECT w.batch_id, w.seq, w.run, w.crashes
FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::smallint[]) AS w (batch_id, seq, run, crashes)
WHERE (SELECT true FROM batches b WHERE b.batch_id = w.batch_id)
ORDER BY w.batch_id, w.seq
ON CONFLICT (batch_id, seq) DO UPDATE SET run = excluded.run, crashes = excluded.crashes
WHERE (excluded.run, excluded.crashes) > (c.run, c.crashes);

-- name: flow_bounds
-- Number, bounds and batch of a flow, and how long its answers are likely to be: those of its batch, else its resource's.
-- Params: $1 batch, $2 resource, $3 what the caller has seen of the batch, in tokens, or null
SELECT f.no, f.first, f.last, b.stored, coalesce(
    (SELECT l.quantile_tokens FROM learned_batch_output l WHERE l.batch_id = $1 AND l.resource_id = $2),
    $3::integer,
    (SELECT l.quantile_tokens FROM learned_output l WHERE l.resource_id = $2)) AS likely_output_tokens
FROM batch_flows f JOIN batches b ON b.batch_id = f.batch_id
WHERE f.batch_id = $1 AND f.resource_id = $2;

-- name: flow_limits
-- All capacities that bind a flow: the batch's, its key's and the resource's, those of the connections of its targets,
-- what was learned of their models, and the environment's pools.
-- Params: $1 batch, $2 resource
SELECT array_remove(ARRAY[b.capacity, k.capacity, CASE WHEN r.enforce_capacity THEN r.capacity END]::text[], NULL) AS own,
    ARRAY(SELECT c.capacity::text FROM resource_targets t
        JOIN connections c ON c.connection_id = t.connection_id WHERE t.resource_id = $2) AS connections,
    ARRAY(SELECT l.limits::text FROM resource_targets t
        JOIN learned_limits l ON l.connection_id = t.connection_id AND l.model = t.model
        WHERE t.resource_id = $2) AS models,
    (SELECT d.pools FROM pool_definitions d WHERE d.environment_id = b.environment_id) AS pools
FROM batches b
LEFT JOIN api_keys k ON k.api_key_id = b.api_key_id
LEFT JOIN resources r ON r.resource_id = $2
WHERE b.batch_id = $1;

-- name: unfinished
-- Items within a range of seqs that have no outcome for their current run.
-- Params: $1 batch, $2 after this seq, $3 up to this seq, $4 how many
SELECT i.seq, r.run, (SELECT f.resource_id FROM batch_flows f WHERE f.batch_id = $1 AND f.no = i.resource_no) AS resource_id
FROM items i CROSS JOIN LATERAL (
    SELECT coalesce((SELECT r.run FROM item_runs r WHERE r.batch_id = $1 AND r.seq = i.seq), 1) AS run OFFSET 0) r
WHERE i.batch_id = $1 AND i.seq > $2 AND i.seq <= $3
    AND (SELECT true FROM outcomes o WHERE o.batch_id = $1 AND o.seq = i.seq AND o.run = r.run) IS NULL
ORDER BY i.seq LIMIT $4;

-- name: retried_runs
-- Current runs of items that were retried.
-- Params: $1 batch, $2 seqs
SELECT r.seq, r.run FROM unnest($2::integer[]) AS w (seq) CROSS JOIN LATERAL (
    SELECT * FROM item_runs r WHERE r.batch_id = $1 AND r.seq = w.seq LIMIT 1) r;

-- name: stored
-- How many items of a batch are written.
-- Params: $1 batch
SELECT stored FROM batches WHERE batch_id = $1;
