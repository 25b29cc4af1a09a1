-- name: learn_limits
-- Replace what is known of models on connections.
-- Params: $1 connections, $2 models, $3 limits as JSON, $4 places (null: not learned)
INSERT INTO learned_limits AS l (connection_id, model, limits, places)
SELECT u.connection_id, u.model, u.limits::jsonb, u.places
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::integer[]) AS u (connection_id, model, limits, places)
WHERE EXISTS (SELECT FROM connections c WHERE c.connection_id = u.connection_id)
ORDER BY u.connection_id, u.model
ON CONFLICT (connection_id, model) DO UPDATE SET
    limits = EXCLUDED.limits, places = EXCLUDED.places, updated_at = now();

-- name: learned_limits
-- What is known of the models of some connections.
-- Params: $1 connections
SELECT connection_id, model, limits, places FROM learned_limits
WHERE connection_id = ANY ($1::uuid[]) ORDER BY connection_id, model;
