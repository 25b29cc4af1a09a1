-- Crashes of suspects outlive the loss of Redis, which counts them.

-- Rows only for items that two holders or more died with: how many, before they are run once more.
CREATE TABLE item_crashes (
    batch_id uuid     NOT NULL REFERENCES batches ON DELETE CASCADE,
    seq      integer  NOT NULL,
    run      integer  NOT NULL,
    crashes  smallint NOT NULL,
    PRIMARY KEY (batch_id, seq)
);
