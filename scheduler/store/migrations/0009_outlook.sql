-- Connections that are parked, and batches that are pressed for time.

CREATE TABLE connection_parkings (
    connection_id uuid        NOT NULL REFERENCES connections ON DELETE CASCADE,
    model         text        NOT NULL,            -- '': all of the connection
    code          text        NOT NULL,
    reason        text        NOT NULL,            -- the provider's words
    parked_at     timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,            -- from then on one call is tried
    times         integer     NOT NULL DEFAULT 1,  -- how often in a row
    PRIMARY KEY (connection_id, model)
);

-- Serves urgency and expiry: live batches by their deadline.
CREATE INDEX batches_pressed ON batches (deadline)
    WHERE status IN ('PENDING', 'RUNNING') AND deadline IS NOT NULL;
