#!lua flags=allow-oom
-- pause_budget: let nothing through a budget for a while, then one probe at a time until one is answered.
--
-- KEYS[1]  epoch     string  brim:{s}:epoch
-- ARGV[1]  epoch     str     the caller's epoch
-- ARGV[2]  budget    str     its id
-- ARGV[3]  pause_ms  int     0: only probes from now on
-- ARGV[4]  why       str     the reason, shown to people
-- ARGV[5]  cause     str     what the provider said: 'limit' (too much: from now on smaller bursts), 'growth' (too much
--                            more than before: from now on growing slowly), or '' (nothing of that kind)
-- ARGV[6]  learned   str     the budget of the model that was called, which learns the same from it if limits were learned
--                            there; '': none
--
-- RETURNS  {'paused', paused_until_ms}
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

local epoch, id, pause_ms, why, cause, learned = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local b = budget.load(id)
if not b then return { 'unknown' } end
local until_ms = budget.pause(b, pause_ms, why, cause)
if budget.shut(b) then parking.divert(id) end
-- Its waiters may have been told to wait for a probe that counts no more.
parking.hand_on(id)
local model = cause ~= '' and learned ~= '' and budget.load(learned)
if model and #model.def.limits > 0 then
  -- For no time of its own: who opens the connection by hand opens this too, and one probe is the probe of both.
  budget.pause(model, 0, why, cause)
  parking.hand_on(learned)
end
budget.save()
shard.write_clock()
return { 'paused', until_ms }
