#!lua flags=allow-oom
-- resume: let a paused flow go on; an older version than the one known is ignored.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2]  queue    str     <ws>:<env>:<resource>
-- ARGV[3]  batch    str
-- ARGV[4]  version  int     row version of the batch
--
-- RETURNS  {'applied'}
--          {'ignored'}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, queue_name, batch, version = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local f = flow.load(queue_name, batch)
if not f or f.dead or version <= f.version then return { 'ignored' } end
redis.call('HSET', flow.state_key(queue_name, batch), 'paused', '0', 'version', version)
f.paused = false
flow.offer(f)
shard.write_clock()
return { 'applied' }
