-- name: keep_quotas
-- Store what is used of quotas; of one period the higher figures stay. Periods of different zones cannot be compared:
-- what came last stays, as its figures hold those before.
-- Params: $1 budgets, $2 codes, $3 period indexes, $4 requests, $5 tokens, $6 zones
INSERT INTO quota_uses AS q (budget_id, code, period_index, requests, tokens, zone)
SELECT u.budget_id, u.code, u.period_index, u.requests, u.tokens, u.zone
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
    AS u (budget_id, code, period_index, requests, tokens, zone)
ORDER BY u.budget_id, u.code
ON CONFLICT (budget_id, code) DO UPDATE SET
    requests = CASE WHEN (q.period_index, q.zone) = (EXCLUDED.period_index, EXCLUDED.zone)
        THEN greatest(q.requests, EXCLUDED.requests) ELSE EXCLUDED.requests END,
    tokens = CASE WHEN (q.period_index, q.zone) = (EXCLUDED.period_index, EXCLUDED.zone)
        THEN greatest(q.tokens, EXCLUDED.tokens) ELSE EXCLUDED.tokens END,
    period_index = EXCLUDED.period_index,
    zone = EXCLUDED.zone,
    updated_at = now()
WHERE q.zone <> EXCLUDED.zone OR q.period_index <= EXCLUDED.period_index;

-- name: quotas
-- What is used of some budgets' quotas.
-- Params: $1 budgets
SELECT budget_id, code, period_index, requests, tokens, zone FROM quota_uses WHERE budget_id = ANY ($1::text[]);

-- name: forget_quotas
-- Drop what ended: a month has 31 days; a lifetime is given a year of silence.
DELETE FROM quota_uses
WHERE updated_at < now() - CASE WHEN code LIKE 'L%' THEN interval '366 days' ELSE interval '32 days' END;
