-- Batches that ended long ago are forgotten, and the partitions that they leave empty are dropped.

-- Drop the partition of one table and week when nothing of that week is left to anybody; answers whether it did. Waits
-- for readers of that table 2 s at most (lock_not_available), because whoever comes later waits behind it.
CREATE FUNCTION drop_partition(parent text, week timestamptz) RETURNS boolean LANGUAGE plpgsql
SET lock_timeout = '2s' AS $$
DECLARE
    child text := format('%s_%s', parent, to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD'));
    low   uuid := lowest_uuid7(week);
    high  uuid := lowest_uuid7(week + interval '7 days');
BEGIN
    IF to_regclass(child) IS NULL
        OR EXISTS (SELECT FROM batches WHERE batch_id >= low AND batch_id < high)
        OR EXISTS (SELECT FROM uploads WHERE batch_id >= low AND batch_id < high)
        OR EXISTS (SELECT FROM submissions WHERE batch_id >= low AND batch_id < high AND ended_at IS NULL)
    THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE %I', child);
    RETURN true;
END $$;

-- Delete rows of one table in the net that are older than p_before and nobody's; answers how many, at most p_most.
CREATE FUNCTION sweep_net(parent text, p_before timestamptz, p_most integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    swept integer;
BEGIN
    EXECUTE format(
        'DELETE FROM %1$I WHERE ctid = ANY (ARRAY(SELECT r.ctid FROM %1$I r WHERE r.batch_id < $1'
        ' AND NOT EXISTS (SELECT FROM batches b WHERE b.batch_id = r.batch_id)'
        ' AND NOT EXISTS (SELECT FROM uploads u WHERE u.batch_id = r.batch_id)'
        ' AND NOT EXISTS (SELECT FROM submissions s WHERE s.batch_id = r.batch_id AND s.ended_at IS NULL) LIMIT $2))',
        parent || '_rest') USING lowest_uuid7(p_before), p_most;
    GET DIAGNOSTICS swept = ROW_COUNT;
    RETURN swept;
END $$;
