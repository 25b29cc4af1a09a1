#!lua
-- checkpoint: what is used of the quotas that changed since they were last asked for.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2]  most     int     budgets in the answer, up to 500; each is handed to one caller only
-- ARGV[3…] again    str     budgets of an earlier answer that could not be stored: they are handed out again
--
-- RETURNS  {'quotas', {budget, code, period index, requests, tokens}, …}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget

local epoch, most = ARGV[1], tonumber(ARGV[2])

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

for i = 3, #ARGV do redis.call('SADD', key.quotas_changed, ARGV[i]) end
local reply = { 'quotas' }
for _, id in ipairs(most > 0 and redis.call('SPOP', key.quotas_changed, most) or {}) do
  local b = budget.load(id)
  for _, limit in ipairs(b and b.def.limits or {}) do
    if limit.quota then
      local index, requests, tokens = window.quota(b, limit)
      reply[#reply + 1] = { id, limit.code, index, requests, tokens }
    end
  end
end
-- Nothing is saved: a period that only went by is no change.
shard.write_clock()
return reply
