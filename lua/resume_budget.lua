#!lua flags=allow-oom
-- resume_budget: end a pause now: one probe at a time until one is answered, as when the pause is over by itself.
--
-- KEYS[1]  epoch     string  brim:{s}:epoch
-- ARGV[1]  epoch     str     the caller's epoch
-- ARGV[2]  budget    str     its id
--
-- RETURNS  {'resumed'}
--          {'unknown'}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, id = ARGV[1], ARGV[2]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local b = budget.load(id)
if not b then return { 'unknown' } end
b.st[PAUSED_UNTIL], b.dirty = math.min(b.st[PAUSED_UNTIL], shard.now), true
parking.hand_on(id)
budget.save()
shard.write_clock()
return { 'resumed' }
