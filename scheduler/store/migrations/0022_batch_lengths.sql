-- What is likely is learned per batch, and for items without a limit of their own it is looked up again at each refill.

ALTER TABLE items
    ADD COLUMN out_copies integer,                           -- out_tokens is a guess, for so many answers; null: requested
    ADD COLUMN out_most   integer;                           -- most that a guess may reserve, by the request; null: all

CREATE TABLE learned_batch_output (
    batch_id        uuid        NOT NULL REFERENCES batches ON DELETE CASCADE,
    resource_id     uuid        NOT NULL,
    quantile_tokens integer     NOT NULL,       -- 95 of 100 answers were not longer
    seen            integer     NOT NULL,       -- answers behind it, at most a million
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (batch_id, resource_id)
) WITH (fillfactor = 50);

-- One figure from two, each weighed by the answers behind it; the old one by 500 at most, so that a change shows soon.
CREATE FUNCTION blended_length(p_old integer, p_old_seen integer, p_new integer, p_new_seen integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT ceil((p_old::numeric * least(p_old_seen, 500) + p_new::numeric * p_new_seen)
        / (least(p_old_seen, 500) + p_new_seen))::integer
$$;
