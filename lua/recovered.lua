#!lua flags=allow-oom
-- recovered: what a loss of Redis took is there again, and holders had time to announce what they hold: claims may begin.
--
-- KEYS[1]  epoch  string  brim:{s}:epoch
-- ARGV[1]  epoch  str     the caller's epoch
--
-- RETURNS  {'recovered'}
--          {'epoch', ruling}
--@include now
--@include shard

local epoch = ARGV[1]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

redis.call('DEL', key.recovery)
shard.wake()
shard.write_clock()
return { 'recovered' }
