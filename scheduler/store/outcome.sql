-- name: record_outcomes
-- The flush: outcomes of many batches in one statement.
-- Params: one array per column of an outcome (see the function), $17 wait for locks instead of skipping
SELECT * FROM record_outcomes(
    $1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[],
    $9::integer[], $10::integer[], $11::integer[], $12::uuid[], $13::text[], $14::timestamptz[], $15::timestamptz[],
    $16::timestamptz[], $17);

-- name: events
-- Events of a batch in order: its own with their snapshots, those of items as the outcomes left them.
-- Params: $1 batch, $2 after this number, $3 how many
WITH numbers AS (
    (SELECT e.event_no, NULL::integer AS seq, NULL::integer AS run FROM events e
     WHERE e.batch_id = $1 AND e.event_no > $2 ORDER BY e.event_no LIMIT $3)
    UNION ALL
    (SELECT o.event_no, o.seq, o.run FROM outcomes o
     WHERE o.batch_id = $1 AND o.event_no > $2 ORDER BY o.event_no LIMIT $3)
    ORDER BY event_no LIMIT $3
)
SELECT n.event_no, e.action, e.snapshot,
    b.workspace_id, b.environment_id, b.created_at, i.batch_id, i.seq, i.custom_id, i.endpoint, i.request, i.metadata,
    i.in_tokens, f.resource_id, n.run, o.status, o.started_at, o.completed_at,
    o.prompt_tokens, o.output_tokens, o.retry_count, o.model AS served_model, o.error_code, o.error_message,
    o.response_headers, o.response, coalesce(c.name, o.connection_id::text) AS served_connection
FROM numbers n
JOIN batches b ON b.batch_id = $1
LEFT JOIN events e ON e.batch_id = $1 AND e.event_no = n.event_no AND n.seq IS NULL
LEFT JOIN outcomes o ON o.batch_id = $1 AND o.seq = n.seq AND o.run = n.run
LEFT JOIN items i ON i.batch_id = $1 AND i.seq = n.seq
LEFT JOIN batch_flows f ON f.batch_id = $1 AND f.no = i.resource_no
LEFT JOIN connections c ON c.connection_id = o.connection_id
ORDER BY n.event_no;
