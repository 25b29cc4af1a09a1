#!lua flags=allow-oom
-- cancel: make a flow dead in O(1): nothing of it is claimed any more, and what is given back is dropped.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2]  queue    str     <ws>:<env>:<resource>
-- ARGV[3]  batch    str
-- ARGV[4]  version  int     row version of the batch
--
-- RETURNS  {'dead', leased}   leases that still run
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, queue_name, batch, version = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local f = flow.load(queue_name, batch)
if not f then
  -- Its first push may still be under way: the tombstone makes it stale.
  flow.create(queue_name, batch, 0, 0)
  f = flow.load(queue_name, batch)
end
local leased = flow.kill(f, version)
shard.write_clock()
return { 'dead', leased }
