-- name: item
-- One item with the outcome of its current run.
-- Params: $1 environment, $2 batch, $3 seq
SELECT b.workspace_id, b.environment_id, b.created_at, i.batch_id, i.seq, i.custom_id, i.endpoint, i.request, i.metadata,
    i.in_tokens, f.resource_id, coalesce(r.run, 1) AS run, o.event_no, o.status, o.started_at, o.completed_at,
    o.prompt_tokens, o.output_tokens, o.retry_count, o.model AS served_model, o.error_code, o.error_message,
    o.response_headers, o.response, coalesce(c.name, o.connection_id::text) AS served_connection
FROM batches b
JOIN items i ON i.batch_id = b.batch_id
JOIN batch_flows f ON f.batch_id = i.batch_id AND f.no = i.resource_no
LEFT JOIN item_runs r ON r.batch_id = i.batch_id AND r.seq = i.seq
LEFT JOIN outcomes o ON o.batch_id = i.batch_id AND o.seq = i.seq AND o.run = coalesce(r.run, 1)
LEFT JOIN connections c ON c.connection_id = o.connection_id
WHERE b.environment_id = $1 AND b.batch_id = $2 AND i.batch_id = $2 AND i.seq = $3;

-- name: item_page
-- Items of a batch in order, with the outcomes of their current runs.
-- Params: $1 batch, $2 after this seq, $3 how many
SELECT b.workspace_id, b.environment_id, b.created_at, i.batch_id, i.seq, i.custom_id, i.endpoint, i.request, i.metadata,
    i.in_tokens, f.resource_id, coalesce(r.run, 1) AS run, o.event_no, o.status, o.started_at, o.completed_at,
    o.prompt_tokens, o.output_tokens, o.retry_count, o.model AS served_model, o.error_code, o.error_message,
    o.response_headers, o.response, coalesce(c.name, o.connection_id::text) AS served_connection
FROM (SELECT * FROM items WHERE batch_id = $1 AND seq > $2 ORDER BY seq LIMIT $3) i
JOIN batches b ON b.batch_id = i.batch_id
JOIN batch_flows f ON f.batch_id = i.batch_id AND f.no = i.resource_no
LEFT JOIN item_runs r ON r.batch_id = i.batch_id AND r.seq = i.seq
LEFT JOIN outcomes o ON o.batch_id = i.batch_id AND o.seq = i.seq AND o.run = coalesce(r.run, 1)
LEFT JOIN connections c ON c.connection_id = o.connection_id
ORDER BY i.seq;

-- name: items
-- Some items of a batch in order, with the outcomes of their current runs.
-- Params: $1 batch, $2 seqs
SELECT b.workspace_id, b.environment_id, b.created_at, i.batch_id, i.seq, i.custom_id, i.endpoint, i.request, i.metadata,
    i.in_tokens, f.resource_id, coalesce(r.run, 1) AS run, o.event_no, o.status, o.started_at, o.completed_at,
    o.prompt_tokens, o.output_tokens, o.retry_count, o.model AS served_model, o.error_code, o.error_message,
    o.response_headers, o.response, coalesce(c.name, o.connection_id::text) AS served_connection
FROM unnest($2::integer[]) AS wanted (seq)
JOIN items i ON i.batch_id = $1 AND i.seq = wanted.seq
JOIN batches b ON b.batch_id = i.batch_id
JOIN batch_flows f ON f.batch_id = i.batch_id AND f.no = i.resource_no
LEFT JOIN item_runs r ON r.batch_id = i.batch_id AND r.seq = i.seq
LEFT JOIN outcomes o ON o.batch_id = i.batch_id AND o.seq = i.seq AND o.run = coalesce(r.run, 1)
LEFT JOIN connections c ON c.connection_id = o.connection_id
ORDER BY i.seq;

-- name: load
-- What a dispatcher needs of its claimed entries, with the shard's epoch; one row with nulls when none is known.
-- Params: $1 shard, $2 batches, $3 seqs, $4 runs
SELECT s.epoch, clock_timestamp() AS database_now, l.*
FROM shards s LEFT JOIN LATERAL (
    SELECT b.batch_id, i.seq, w.run, b.status, b.deadline, b.wants_item_update, f.resource_id, i.endpoint, i.request,
        coalesce((SELECT r.run FROM item_runs r WHERE r.batch_id = w.batch_id AND r.seq = w.seq), 1) AS current_run,
        (SELECT true FROM outcomes o
         WHERE o.batch_id = w.batch_id AND o.seq = w.seq AND o.run = w.run) AS has_outcome
    FROM unnest($2::uuid[], $3::integer[], $4::integer[]) AS w (batch_id, seq, run)
    JOIN batches b ON b.batch_id = w.batch_id
    JOIN items i ON i.batch_id = w.batch_id AND i.seq = w.seq
    JOIN batch_flows f ON f.batch_id = i.batch_id AND f.no = i.resource_no
    OFFSET 0
) l ON true
WHERE s.shard = $1;

-- name: window
-- Items of one flow within a range of seqs that have no outcome for their current run.
-- Params: $1 batch, $2 number of the resource, $3 after this seq, $4 up to this seq, $5 how many
SELECT i.seq, coalesce(r.run, 1) AS run, i.in_tokens, i.out_tokens
FROM items i LEFT JOIN item_runs r ON r.batch_id = i.batch_id AND r.seq = i.seq
WHERE i.batch_id = $1 AND i.resource_no = $2 AND i.seq > $3 AND i.seq <= $4
    AND (SELECT true FROM outcomes o
         WHERE o.batch_id = i.batch_id AND o.seq = i.seq AND o.run = coalesce(r.run, 1)) IS NULL
ORDER BY i.seq LIMIT $5;

-- name: flow_bounds
-- Number, bounds and batch of a flow.
-- Params: $1 batch, $2 resource
SELECT f.no, f.first, f.last, b.stored
FROM batch_flows f JOIN batches b ON b.batch_id = f.batch_id
WHERE f.batch_id = $1 AND f.resource_id = $2;

-- name: unfinished
-- Items within a range of seqs that have no outcome for their current run.
-- Params: $1 batch, $2 after this seq, $3 up to this seq, $4 how many
SELECT i.seq, coalesce(r.run, 1) AS run, f.resource_id
FROM items i
JOIN batch_flows f ON f.batch_id = i.batch_id AND f.no = i.resource_no
LEFT JOIN item_runs r ON r.batch_id = i.batch_id AND r.seq = i.seq
WHERE i.batch_id = $1 AND i.seq > $2 AND i.seq <= $3
    AND (SELECT true FROM outcomes o
         WHERE o.batch_id = i.batch_id AND o.seq = i.seq AND o.run = coalesce(r.run, 1)) IS NULL
ORDER BY i.seq LIMIT $4;

-- name: stored
-- How many items of a batch are written.
-- Params: $1 batch
SELECT stored FROM batches WHERE batch_id = $1;
