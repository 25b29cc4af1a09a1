-- Callback secrets are sealed at rest. What is stored in the clear is sealed by the workers, which have the key.

-- Serves the secretkeeper; holds nothing once all are sealed.
CREATE INDEX batches_with_clear_secrets ON batches (batch_id) WHERE callback ->> 'secret' IS NOT NULL;
