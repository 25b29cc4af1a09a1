-- What workers learned from answers.

CREATE TABLE learned_output (
    resource_id     uuid        PRIMARY KEY REFERENCES resources ON DELETE CASCADE,
    quantile_tokens integer     NOT NULL,       -- 95 of 100 answers were not longer
    seen            integer     NOT NULL,       -- answers behind it, at most a million
    updated_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
