-- Parts of batches that are handed over to the provider's own Batch API.

CREATE TABLE handovers (
    batch_id       uuid        NOT NULL REFERENCES submissions ON DELETE CASCADE,
    resource_id    uuid        NOT NULL,
    environment_id uuid        NOT NULL,
    state          text        NOT NULL DEFAULT 'planned',
    tries          smallint    NOT NULL DEFAULT 0,               -- failed looks in a row
    due_at         timestamptz NOT NULL DEFAULT now(),
    held_until     timestamptz NOT NULL DEFAULT '-infinity',     -- lease of who works on it
    asked_at       timestamptz,                                  -- the provider's batch was asked for
    holder         text,
    file_ref       text,                                         -- ids at the provider
    batch_ref      text,
    PRIMARY KEY (batch_id, resource_id),
    CONSTRAINT handovers_state_is_known CHECK (state IN (
        'planned',   -- nothing has left yet
        'uploaded',  -- its lines lie at the provider
        'handed',    -- the provider's batch is known
        'done'       -- every item has its outcome, or the batch was stopped
    ))
);
-- Serves the hander: what is due.
CREATE INDEX handovers_due ON handovers (due_at) WHERE state <> 'done';
