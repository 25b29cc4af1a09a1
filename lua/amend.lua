#!lua flags=allow-oom
-- amend: calls were reserved by an older guess of their answers; book what is likely now.
--
-- KEYS[1]  epoch     string  brim:{s}:epoch
-- ARGV[1]  epoch     str     the caller's epoch
-- ARGV[2…] leases            triples: lease id, fence, out_tokens (above 0); at most 128
--
-- RETURNS  {'amended', lost index, …}   indices from 0
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch = ARGV[1]
local FIRST, WIDTH_OF_AMENDMENT = 2, 3

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local ids, fences, likely = {}, {}, {}
for i = FIRST, #ARGV, WIDTH_OF_AMENDMENT do
  ids[#ids + 1], fences[#fences + 1], likely[#likely + 1] = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
end
local reply, amended, freed = { 'amended' }, {}, {}
for i, l in ipairs(lease.held(ids, fences)) do
  if not l then
    reply[#reply + 1] = i - 1
  elseif #l.budgets > 0 then
    local e = flow.parse(l.entry)
    e.out_tokens = likely[i]
    lease.charge(l, l.in_tokens, likely[i])
    for _, id in ipairs(likely[i] < l.out_tokens and l.budgets or {}) do freed[id] = true end
    -- Should it be given back, it comes again with what it was amended to.
    l.entry, l.out_tokens = flow.format(e), likely[i]
    amended[#amended + 1], amended[#amended + 2] = l.id, lease.pack(l)
  end
end
if #amended > 0 then redis.call('HSET', key.leases, unpack(amended)) end
for id in pairs(freed) do parking.hand_on(id) end
budget.save()
shard.write_clock()
return reply
