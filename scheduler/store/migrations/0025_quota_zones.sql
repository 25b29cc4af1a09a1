-- Whose days a checkpoint of a quota counted: after a loss of Redis it may be restored into a period of another zone. What
-- is there counts as UTC until the next checkpoint: a period of Pacific time that is named so still overlaps itself.

ALTER TABLE quota_uses ADD COLUMN zone text NOT NULL DEFAULT '';
