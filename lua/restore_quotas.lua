#!lua
-- restore_quotas: after a loss, so much at least is used of these quotas, if their period is the present one, or overlaps
-- it in another zone; also of those of that period that count tokens otherwise now.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2…] quotas           in sixes: budget, code, period index, requests, tokens, zone; at most 1,000
--
-- RETURNS  {'restored', n}   budgets that are not defined, or have no such quota, are left out
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget

local epoch = ARGV[1]

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

-- By limit: what was counted under its own code, and what all others tell of it (tokens in and out make up the total).
local restored, found = 0, {}
for i = 2, #ARGV, 6 do
  local id, code = ARGV[i], ARGV[i + 1]
  local index, requests, tokens, zone = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]), ARGV[i + 5]
  local b = budget.load(id)
  for _, limit in ipairs(b and carry.successors(b.def, code) or {}) do
    if carry.overlaps(limit, zone, index) then
      local used = found[limit] or { budget = b, requests = 0, own = 0, others = 0 }
      found[limit] = used
      used.requests = math.max(used.requests, requests)
      if limit.code == code then used.own = tokens
      elseif carry.tells(limit.code, code) then used.others = used.others + tokens end
    end
    restored = restored + 1
  end
end
for limit, used in pairs(found) do
  window.restore(used.budget, limit, used.budget.st[limit.at + CUR], used.requests, math.max(used.own, used.others))
end
budget.save()
shard.write_clock()
return { 'restored', restored }
