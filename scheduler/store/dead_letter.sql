-- name: dead_letters
-- Items whose current run ended FAILED: newest batch first, then in order of items.
-- Params: $1 environment, $2 error code or null, $3 resource or null, $4 batch or null, $5 after this batch and $6 this
-- seq (the highest id and 0 to begin), $7 how many
SELECT b.batch_id, d.seq, d.run, d.custom_id, d.resource_id, d.error_code, d.error_message, d.retry_count,
    d.completed_at, d.runnable, b.completed_at IS NOT NULL AS ended
FROM batches b CROSS JOIN LATERAL (
    SELECT * FROM failed_items(b.batch_id, $2, $3, CASE WHEN b.batch_id = $5 THEN $6 ELSE 0 END, $7)
) d
WHERE b.environment_id = $1 AND b.failed > 0
    AND b.batch_id BETWEEN coalesce($4, lowest_uuid7('epoch')) AND least($4, $5)
ORDER BY b.batch_id DESC, d.seq LIMIT $7;

-- name: failed_batches
-- Batches with failed items that are meant and can be run, and how many; newest first.
-- Params: $1 environment, $2 error code or null, $3 resource or null, $4 batch or null, $5 before this batch, $6 how many
SELECT b.batch_id, d.items, b.completed_at IS NOT NULL AS ended
FROM batches b CROSS JOIN LATERAL (
    SELECT count(*) AS items FROM failed_items(b.batch_id, $2, $3, 0, NULL) f WHERE f.runnable
) d
WHERE b.environment_id = $1 AND b.failed > 0 AND b.batch_id < $5
    AND b.batch_id BETWEEN coalesce($4, lowest_uuid7('epoch')) AND coalesce($4, $5) AND d.items > 0
ORDER BY b.batch_id DESC LIMIT $6;
