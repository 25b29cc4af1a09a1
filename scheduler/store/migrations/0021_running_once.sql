-- A "running" callback has one id, however often its run is claimed before its call leaves.

-- A worker of an earlier version may add one between the two statements below.
LOCK TABLE deliveries IN SHARE ROW EXCLUSIVE MODE;

DELETE FROM deliveries told USING (
    SELECT batch_id, delivery_id,
        row_number() OVER (PARTITION BY batch_id, seq, run ORDER BY delivery_id) AS nth
    FROM deliveries WHERE kind = 'running'
) numbered
WHERE nth > 1 AND told.batch_id = numbered.batch_id AND told.delivery_id = numbered.delivery_id;

-- A run that is told twice (its call left too late, its worker died) is told under one id.
CREATE UNIQUE INDEX deliveries_running ON deliveries (batch_id, seq, run) WHERE kind = 'running';
