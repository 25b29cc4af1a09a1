#!lua
-- set_limits: create or change budgets; an older version than the one known is ignored.
--
-- KEYS[1]  epoch        string  brim:{s}:epoch
-- ARGV[1]  epoch        str     the caller's epoch
-- ARGV[2]  spent        0|1     after a loss of Redis: a budget that is there presumes what it may lack; one that is not
--                               there starts with its window used up, or, on a shard that kept its data, presumes
--                               the same. While the shard is recovered, all that are not there do so.
-- ARGV[3…] definitions  json    {id, version, max_in_flight, [[code, period_ms, requests, tokens, pace, burst_ms, meter, share, zone] …]}, -1: none
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
--@include presumption

local epoch, spent = ARGV[1], ARGV[2] == '1'

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local recovering = redis.call('GET', key.recovery)
local kept = recovering == 'kept'
local applied = 0
for i = 3, #ARGV do
  local given = cjson.decode(ARGV[i])
  local id, version = given[1], given[2]
  local known = budget.load(id)
  if not known or version > known.def.version then
    -- What a person said since goes before what was learned of a model: that is learned anew.
    if known and string.sub(id, 1, 6) == 'model-' then redis.call('HDEL', known.key, 'seen') end
    local packed = { version, given[3] }
    for _, limit in ipairs(given[4]) do packed[#packed + 1] = limit end
    -- 'model-<connection>-<model>'
    local connection = not known and string.sub(id, 1, 6) == 'model-' and budget.load('connection-' .. string.sub(id, 7, 42))
    local past = known or connection and budget.inherited(id, connection) or nil
    budget.define(id, cmsgpack.pack(packed), past, (spent or recovering) and not kept)
    applied = applied + 1
  elseif known then
    redis.call('PERSIST', known.key)
    budget.fade(known)
  end
  if known and spent or kept and not known then presumption.book(budget.load(id)) end
  if budget.load(id) ~= known then parking.hand_on(id) end
end
budget.save()
shard.write_clock()
return { 'applied', applied }
