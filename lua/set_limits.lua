#!lua
-- set_limits: create or change budgets; an older version than the one known is ignored.
--
-- KEYS[1]  epoch        string  brim:{s}:epoch
-- ARGV[1]  epoch        str     the caller's epoch
-- ARGV[2]  spent        0|1     a new budget starts with its window used up (after a loss of Redis)
-- ARGV[3…] definitions  json    {id, version, max_in_flight, [[code, period_ms, requests, tokens, pace, burst_ms, meter, share] …]}, -1: none
--
-- RETURNS  {'applied', n}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, spent = ARGV[1], ARGV[2] == '1'

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local applied = 0
for i = 3, #ARGV do
  local given = cjson.decode(ARGV[i])
  local id, version = given[1], given[2]
  local known = budget.load(id)
  if not known or version > known.def.version then
    local packed = { version, given[3] }
    for _, limit in ipairs(given[4]) do packed[#packed + 1] = limit end
    budget.define(id, cmsgpack.pack(packed), known, spent)
    applied = applied + 1
  elseif known then
    redis.call('PERSIST', known.key)
  end
  parking.hand_on(id)
end
budget.save()
shard.write_clock()
return { 'applied', applied }
