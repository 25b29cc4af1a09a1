#!lua flags=allow-oom
-- renew: prolong leases that the caller still holds, and count their calls where they were really sent.
--
-- KEYS[1]  epoch     string  brim:{s}:epoch
-- ARGV[1]  epoch     str     the caller's epoch
-- ARGV[2]  lease_ms  int     they last so long from now
-- ARGV[3…] leases            triples: lease id, fence, sent_ago_ms (-1: not sent yet); at most 128
--
-- RETURNS  {'renewed', lost index, …}   indices from 0
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, lease_ms = ARGV[1], tonumber(ARGV[2])

local refused = shard.refuses(epoch)
if refused then return refused end
local now = shard.read_clock()

local ids, fences, ages = {}, {}, {}
for i = 3, #ARGV, 3 do
  ids[#ids + 1], fences[#fences + 1], ages[#ages + 1] = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
end
local reply, deadlines, processing, moved = { 'renewed' }, {}, {}, {}
for i, l in ipairs(lease.held(ids, fences)) do
  if not l then
    reply[#reply + 1] = i - 1
  else
    deadlines[#deadlines + 1], deadlines[#deadlines + 2] = now + lease_ms, l.id
    local members = processing[l.queue] or {}
    members[#members + 1], members[#members + 2] = now + lease_ms, l.id
    processing[l.queue] = members
    if ages[i] >= 0 and lease.sent(l, ages[i]) then
      moved[#moved + 1], moved[#moved + 2] = l.id, lease.pack(l)
    end
  end
end
if #deadlines > 0 then redis.call('ZADD', key.deadlines, 'XX', unpack(deadlines)) end
for name, members in pairs(processing) do redis.call('ZADD', key.processing(name), 'XX', unpack(members)) end
if #moved > 0 then redis.call('HSET', key.leases, unpack(moved)) end
budget.save()
shard.write_clock()
return reply
