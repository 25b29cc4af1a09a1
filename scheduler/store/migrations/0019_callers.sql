-- Where a batch came from, for keys that count callers apart.

ALTER TABLE batches ADD COLUMN caller text;             -- address that it came from; null: its key does not count them
