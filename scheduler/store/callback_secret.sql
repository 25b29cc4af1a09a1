-- name: in_the_clear
-- Batches whose callback holds its secret in the clear.
-- Params: $1 how many
SELECT batch_id, callback FROM batches WHERE callback ->> 'secret' IS NOT NULL LIMIT $1;

-- name: replace_callback
-- Another form of a callback.
-- Params: $1 batch, $2 callback
UPDATE batches SET callback = $2 WHERE batch_id = $1;
