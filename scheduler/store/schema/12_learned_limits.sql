-- What providers' answers told of their limits, per model of a connection.

CREATE TABLE learned_limits (
    connection_id uuid        NOT NULL REFERENCES connections ON DELETE CASCADE,
    model         text        NOT NULL,
    limits        jsonb       NOT NULL,         -- list of {period, requests, tokens, meter}
    places        integer,                      -- calls at once that are worth it; null: it has limits
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connection_id, model)
) WITH (fillfactor = 50);
