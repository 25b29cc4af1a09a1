#!lua flags=allow-oom
-- settle: end leases whose outcome is recorded; estimates become actual use; readers are told.
--
-- KEYS[1]  epoch      string  brim:{s}:epoch
-- ARGV[1]  epoch      str     the caller's epoch
-- ARGV[2]  n          int     number of leases, at most 256
-- ARGV[3…] leases             n quintuples: lease id, fence, charged_in_tokens, charged_out_tokens,
--                                    sent_ago_ms (-1: never sent, all given back)
-- then     doorbells          triples: queue, batch, last_event
--
-- RETURNS  {'settled', lost index, …}   indices from 0
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, n = ARGV[1], tonumber(ARGV[2])
local LEASES, PER_LEASE, PER_BELL = 3, 5, 3

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local ids, fences, charged_in, charged_out, ages = {}, {}, {}, {}, {}
for i = LEASES, LEASES + (n - 1) * PER_LEASE, PER_LEASE do
  ids[#ids + 1], fences[#fences + 1] = ARGV[i], tonumber(ARGV[i + 1])
  charged_in[#charged_in + 1], charged_out[#charged_out + 1] = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  ages[#ages + 1] = tonumber(ARGV[i + 4])
end
local reply, ending = { 'settled' }, lease.ending()
for i, l in ipairs(lease.held(ids, fences)) do
  if not l then
    reply[#reply + 1] = i - 1
  else
    if ages[i] < 0 then
      lease.refund(l)
    else
      lease.sent(l, ages[i])
      lease.charge(l, charged_in[i], charged_out[i])
    end
    lease.finish(ending, l, ages[i] >= 0)
  end
end
lease.commit(ending)
for i = LEASES + n * PER_LEASE, #ARGV, PER_BELL do shard.ring(ARGV[i], ARGV[i + 1], 'event', ARGV[i + 2]) end
shard.write_clock()
return reply
