-- Batches that come line by line.

CREATE TABLE uploads (
    batch_id uuid        PRIMARY KEY,
    early    boolean     NOT NULL,               -- the batch exists and runs already; else it is made at the end
    stored   integer     NOT NULL DEFAULT 0,     -- items written so far
    torn     boolean     NOT NULL DEFAULT false, -- takes no more items: it is to be sealed (early) or swept away
    seen_at  timestamptz NOT NULL                -- last sign of life of its API process
);
-- Serves the sealer: uploads that fell silent.
CREATE INDEX uploads_by_age ON uploads (seen_at);

-- Seal an unsealed batch as it is, with what is wrong with it or null, and end it if all of it is finished.
CREATE FUNCTION seal_batch(p_batch uuid, p_error text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE batches b SET sealed = true, error_message = p_error, version = b.version + 1, updated_at = clock_timestamp()
    WHERE b.batch_id = p_batch AND NOT b.sealed;
    IF FOUND THEN
        PERFORM end_full_batches(ARRAY[p_batch]);
    END IF;
END $$;
