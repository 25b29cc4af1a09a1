-- What is used of limits per hour and longer, every few seconds.

CREATE TABLE quota_uses (
    budget_id    text        NOT NULL,
    code         text        NOT NULL,          -- the limit's period and meter, as the engine writes them
    period_index bigint      NOT NULL,          -- which hour, day, … it is, counted from 1970
    requests     bigint      NOT NULL,
    tokens       bigint      NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    zone         text        NOT NULL DEFAULT '', -- whose days it counted; '': UTC
    PRIMARY KEY (budget_id, code)
) WITH (fillfactor = 50);
