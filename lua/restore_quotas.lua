#!lua
-- restore_quotas: after a loss, so much at least is used of these quotas, if their period is still the same.
--
-- KEYS[1]  epoch    string  brim:{s}:epoch
-- ARGV[1]  epoch    str     the caller's epoch
-- ARGV[2…] quotas           quintuples: budget, code, period index, requests, tokens; at most 1,000
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

local restored = 0
for i = 2, #ARGV, 5 do
  local id, code = ARGV[i], ARGV[i + 1]
  local b = budget.load(id)
  for _, limit in ipairs(b and b.def.limits or {}) do
    if limit.quota and limit.code == code then
      window.restore(b, limit, tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]))
      restored = restored + 1
    end
  end
end
budget.save()
shard.write_clock()
return { 'restored', restored }
