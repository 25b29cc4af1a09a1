-- A "running" callback has one id, however often its run is claimed before its call leaves.

DELETE FROM deliveries later USING deliveries first
WHERE later.kind = 'running' AND first.kind = 'running' AND first.batch_id = later.batch_id
    AND first.seq = later.seq AND first.run = later.run AND first.delivery_id < later.delivery_id;

-- A run that is told twice (its call left too late, its worker died) is told under one id.
CREATE UNIQUE INDEX deliveries_running ON deliveries (batch_id, seq, run) WHERE kind = 'running';
