#!lua flags=allow-oom
-- ring: tell the readers of batches that Postgres holds new events.
--
-- KEYS[1]  epoch      string  brim:{s}:epoch
-- ARGV[1]  epoch      str     the caller's epoch
-- ARGV[2…] doorbells          triples: queue, batch, last_event
--
-- RETURNS  {'rung'}
--          {'epoch', ruling}
--@include now
--@include shard

local epoch = ARGV[1]

local refused = shard.refuses(epoch)
if refused then return refused end
for i = 2, #ARGV, 3 do shard.ring(ARGV[i], ARGV[i + 1], 'event', ARGV[i + 2]) end
return { 'rung' }
