#!lua
-- checkpoint: what is used of the quotas that changed, to be stored. An answer counts as stored when its receipt comes
-- back; until then its budgets are kept, and handed out again if that takes too long: whoever had them may be dead.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2]  most     int     budgets in the answer, up to 500; each is handed to one caller at a time
-- ARGV[3]  stored   int     receipt of an earlier answer that is stored now; 0: none
--
-- RETURNS  {'quotas', receipt, {budget, code, period index, requests, tokens, zone}, …}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget

local HANDED_MS = 15000 -- five turns of the duty, whose next call brings the receipt

local epoch, most, stored = ARGV[1], tonumber(ARGV[2]), ARGV[3]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

-- Budgets that were handed out, by the receipt of the newest answer with them; a change since puts them into
-- quotas_changed as well. A receipt is the time of its answer, made unique: nobody gives back another's.
local handed = key.quotas_handed
local receipt = math.max(shard.now, tonumber(redis.call('HGET', key.clock, 'receipt') or 0) + 1)

redis.call('ZREMRANGEBYSCORE', handed, stored, stored)
local ids = redis.call('ZRANGEBYSCORE', handed, '-inf', shard.now - HANDED_MS, 'LIMIT', 0, most)
if #ids > 0 then redis.call('SREM', key.quotas_changed, unpack(ids)) end
if #ids < most then
  for _, id in ipairs(redis.call('SPOP', key.quotas_changed, most - #ids)) do ids[#ids + 1] = id end
end

local reply = { 'quotas', receipt }
for _, id in ipairs(ids) do
  local b, quotas = budget.load(id), false
  for _, limit in ipairs(b and b.def.limits or {}) do
    if limit.quota then
      quotas = true
      local index, requests, tokens = window.quota(b, limit)
      reply[#reply + 1] = { id, limit.code, index, requests, tokens, limit.zone }
    end
  end
  if quotas then redis.call('ZADD', handed, receipt, id) else redis.call('ZREM', handed, id) end
end
if #ids > 0 then redis.call('HSET', key.clock, 'receipt', receipt) end
-- Nothing is saved: a period that only went by is no change.
shard.write_clock()
return reply
