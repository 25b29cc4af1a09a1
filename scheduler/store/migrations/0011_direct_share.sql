-- A part of a connection's limits that is kept for direct calls.

ALTER TABLE connections ADD COLUMN direct_share float8 NOT NULL DEFAULT 0;
ALTER TABLE connections ADD CONSTRAINT connections_direct_share_is_a_part CHECK (direct_share BETWEEN 0 AND 1);
