#!lua
-- headroom: what budgets hold now.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2…] budgets  str     ids
--
-- RETURNS  {'headroom', {id, in_flight, max_in_flight, paused_ms, why, waiting, {code, meter, requests, used, tokens, used, …}}, …}
--            -1: no limit; unknown budgets are left out
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget

local epoch = ARGV[1]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local reply = { 'headroom' }
for i = 2, #ARGV do
  local b = budget.load(ARGV[i])
  if b then reply[#reply + 1] = budget.report(b) end
end
budget.save()
shard.write_clock()
return reply
