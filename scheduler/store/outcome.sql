-- name: record_outcomes
-- The flush: outcomes of many batches in one statement.
-- Params: one array per column of an outcome (see the function), $18 wait for locks instead of skipping
SELECT * FROM record_outcomes(
    $1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[],
    $9::integer[], $10::integer[], $11::integer[], $12::uuid[], $13::text[], $14::timestamptz[], $15::timestamptz[],
    $16::timestamptz[], $17::smallint[], $18);

-- name: events
-- Events of a batch in order: its own with their snapshots, those of items as the outcomes left them.
-- "event_no > 0" names the index outcomes_by_event.
-- Params: $1 batch, $2 after this number, $3 how many
WITH numbers AS (
    (SELECT e.event_no, NULL::integer AS seq, NULL::integer AS run FROM events e
     WHERE e.batch_id = $1 AND e.event_no > $2 ORDER BY e.event_no LIMIT $3)
    UNION ALL
    (SELECT o.event_no, o.seq, o.run FROM outcomes o
     WHERE o.batch_id = $1 AND o.event_no > $2 AND o.event_no > 0 ORDER BY o.event_no LIMIT $3)
    ORDER BY event_no LIMIT $3
)
SELECT n.event_no AS number, e.action, e.snapshot, r.*
FROM numbers n
LEFT JOIN LATERAL (
    SELECT * FROM events e WHERE e.batch_id = $1 AND e.event_no = n.event_no AND n.seq IS NULL LIMIT 1) e ON true
LEFT JOIN LATERAL item_record($1, n.seq, n.run) r ON n.seq IS NOT NULL
ORDER BY n.event_no;
