-- name: add_running
-- "running" deliveries of items whose batches ask for them. One that a run has already stays: told again, it must keep its
-- id. In order, so that two holders of the same items never wait for each other in a circle.
-- Params: $1 batches, $2 seqs, $3 runs, $4 now
INSERT INTO deliveries (batch_id, delivery_id, created_at, due_at, seq, run, kind, receiver)
SELECT b.batch_id, new_uuid7(), $4, $4, w.seq, w.run, 'running', b.receiver
FROM unnest($1::uuid[], $2::integer[], $3::integer[]) AS w (batch_id, seq, run)
JOIN batches b ON b.batch_id = w.batch_id
WHERE b.wants_item_update
ORDER BY w.batch_id, w.seq, w.run
ON CONFLICT (batch_id, seq, run) WHERE kind = 'running' DO NOTHING;

-- name: due_receivers
-- Receivers that have something due, in order of name. Hops along deliveries_by_receiver: one probe per receiver,
-- however much waits for it.
-- Params: $1 after this receiver, $2 most receivers to look at, $3 receivers to leave out
WITH RECURSIVE hops AS (
    (SELECT d.receiver, 1 AS hop FROM deliveries d
     WHERE d.state = 'waiting' AND d.receiver > $1 ORDER BY d.receiver LIMIT 1)
    UNION ALL
    SELECT n.receiver, h.hop + 1
    FROM hops h CROSS JOIN LATERAL (
        SELECT d.receiver FROM deliveries d
        WHERE d.state = 'waiting' AND d.receiver > h.receiver ORDER BY d.receiver LIMIT 1
    ) n
    WHERE h.hop < $2
)
SELECT h.receiver, h.receiver <> ALL ($3::text[]) AND (
    SELECT d.due_at FROM deliveries d WHERE d.receiver = h.receiver AND d.state = 'waiting'
    ORDER BY d.due_at LIMIT 1
) <= clock_timestamp() AS is_due
FROM hops h ORDER BY h.hop;

-- name: lease_deliveries
-- Lease the oldest due of each receiver. The lease is the next due time: one that is not recorded comes back by itself.
-- Params: $1 receivers, $2 most for each, $3 most in all, $4 holder, $5 lease in seconds
WITH picked AS (
    SELECT p.batch_id, p.delivery_id
    FROM unnest($1::text[], $2::integer[]) AS r (receiver, most) CROSS JOIN LATERAL (
        SELECT d.batch_id, d.delivery_id FROM deliveries d
        WHERE d.receiver = r.receiver AND d.state = 'waiting' AND d.due_at <= statement_timestamp()
        ORDER BY d.due_at LIMIT r.most FOR UPDATE SKIP LOCKED
    ) p
    LIMIT $3
)
UPDATE deliveries d SET holder = $4, due_at = clock_timestamp() + $5 * interval '1 second'
FROM picked p WHERE d.batch_id = p.batch_id AND d.delivery_id = p.delivery_id
RETURNING d.batch_id, d.delivery_id;

-- name: renew_leases
-- Prolong those that are still the holder's. One that is locked is being recorded or passes to another: left alone, so
-- that nobody waits here.
-- Params: $1 holder, $2 batches, $3 deliveries, $4 lease in seconds
WITH held AS (
    SELECT d.batch_id, d.delivery_id
    FROM unnest($2::uuid[], $3::uuid[]) AS w (batch_id, delivery_id) CROSS JOIN LATERAL (
        SELECT d.batch_id, d.delivery_id FROM deliveries d
        WHERE d.batch_id = w.batch_id AND d.delivery_id = w.delivery_id AND d.holder = $1
        LIMIT 1 FOR UPDATE SKIP LOCKED) d
)
UPDATE deliveries d SET due_at = clock_timestamp() + $4 * interval '1 second'
FROM held h WHERE d.batch_id = h.batch_id AND d.delivery_id = h.delivery_id
RETURNING d.delivery_id;

-- name: payloads
-- Deliveries with what they carry: an item as its outcome left it, an item that runs, a snapshot of the batch, or an
-- event of a submission with its target.
-- Params: $1 batches, $2 deliveries
SELECT d.delivery_id, d.kind, d.attempts, d.created_at AS delivery_created_at,
    coalesce(d.replayed_at, d.created_at) AS tried_since, w.batch_id AS of_batch, d.event, d.data, t.format, t.url, t.secrets,
    e.snapshot, r.*
FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS w (batch_id, delivery_id, ord)
CROSS JOIN LATERAL (
    SELECT * FROM deliveries d WHERE d.batch_id = w.batch_id AND d.delivery_id = w.delivery_id LIMIT 1) d
LEFT JOIN LATERAL (
    SELECT * FROM events e WHERE e.batch_id = w.batch_id AND e.event_no = d.event_no LIMIT 1) e ON d.kind = 'batch'
LEFT JOIN LATERAL (
    SELECT * FROM webhook_targets t WHERE t.batch_id = w.batch_id AND t.no = d.target LIMIT 1) t ON d.kind = 'webhook'
LEFT JOIN LATERAL item_record(w.batch_id, d.seq, d.run) r ON d.kind IN ('running', 'item')
ORDER BY w.ord;

-- name: next_due
-- Seconds until something is due; negative when it is overdue, null when nothing waits.
SELECT extract(epoch FROM d.due_at - clock_timestamp())::float8
FROM deliveries d WHERE d.finished_at IS NULL ORDER BY d.due_at LIMIT 1;

-- name: record
-- What became of tries, where the lease is still the holder's.
-- Params: $1 holder, $2 deliveries, $3 states, $4 next due times, $5 reasons, $6 HTTP statuses
WITH held AS (
    SELECT d.batch_id, w.*
    FROM unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::integer[])
        AS w (delivery_id, state, due_at, reason, status)
    CROSS JOIN LATERAL (
        SELECT d.batch_id FROM deliveries d WHERE d.delivery_id = w.delivery_id AND d.holder = $1 LIMIT 1 FOR UPDATE) d
)
UPDATE deliveries d SET
    state = h.state, due_at = h.due_at, reason = h.reason, holder = NULL, attempts = d.attempts + 1,
    last_status = coalesce(h.status, d.last_status),
    finished_at = CASE WHEN h.state = 'waiting' THEN NULL ELSE clock_timestamp() END
FROM held h WHERE d.batch_id = h.batch_id AND d.delivery_id = h.delivery_id;

-- name: list_deliveries
-- Deliveries of a batch, oldest first.
-- Params: $1 batch, $2 after this delivery, $3 how many, $4 state or null
SELECT delivery_id, kind, state, seq, run, event_no, attempts, created_at, due_at AS next_try_at, finished_at,
    last_status, reason AS last_error, event
FROM deliveries WHERE batch_id = $1 AND delivery_id > $2 AND ($4::text IS NULL OR state = $4)
ORDER BY delivery_id LIMIT $3;

-- name: replay_delivery
-- Due now, unless it is on its way.
-- Params: $1 batch, $2 delivery
UPDATE deliveries SET
    state = 'waiting', due_at = clock_timestamp(), finished_at = NULL, replayed_at = clock_timestamp()
WHERE batch_id = $1 AND delivery_id = $2 AND holder IS NULL;

-- name: replay_dead
-- Dead deliveries of a batch are due now, the oldest first.
-- Params: $1 batch, $2 how many
UPDATE deliveries d SET
    state = 'waiting', due_at = clock_timestamp(), finished_at = NULL, replayed_at = clock_timestamp()
FROM (SELECT delivery_id FROM deliveries WHERE batch_id = $1 AND state = 'dead' ORDER BY delivery_id LIMIT $2) w
WHERE d.batch_id = $1 AND d.delivery_id = w.delivery_id AND d.state = 'dead' AND d.holder IS NULL;

-- name: delivery
-- One delivery.
-- Params: $1 batch, $2 delivery
SELECT delivery_id, kind, state, seq, run, event_no, attempts, created_at, due_at AS next_try_at, finished_at,
    last_status, reason AS last_error, event
FROM deliveries WHERE batch_id = $1 AND delivery_id = $2;
