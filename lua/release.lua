#!lua flags=allow-oom
-- release: give entries back to their flows, now or after a delay.
--
-- KEYS[1]  epoch     string  brim:{s}:epoch
-- ARGV[1]  epoch     str     the caller's epoch
-- ARGV[2…] releases          octuples: lease id, fence, delay_ms, spend_attempt 0|1, refund all 0|1, sent_ago_ms (-1: unsent),
--                            next_target, out_tokens to reserve from now on (-1: as before); at most 128
--
-- RETURNS  {'released', lost index, …}   indices from 0
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
local FIRST, WIDTH_OF_RELEASE = 2, 8

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local ids, fences = {}, {}
for i = FIRST, #ARGV, WIDTH_OF_RELEASE do
  ids[#ids + 1], fences[#fences + 1] = ARGV[i], tonumber(ARGV[i + 1])
end
local reply, ending, back = { 'released' }, lease.ending(), {}
local held = lease.held(ids, fences)
-- From the last to the first: what goes to the front keeps its order.
for i = #held, 1, -1 do
  local l, at = held[i], FIRST + (i - 1) * WIDTH_OF_RELEASE
  if not l then
    reply[#reply + 1] = i - 1
  else
    local delay_ms, spend, refund = tonumber(ARGV[at + 2]), ARGV[at + 3] == '1', ARGV[at + 4] == '1'
    local sent_ago_ms, target = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
    local out_tokens = tonumber(ARGV[at + 7])
    if refund then
      lease.refund(l)
    elseif sent_ago_ms >= 0 then
      lease.sent(l, sent_ago_ms)
    end
    lease.finish(ending, l, false)
    local e = flow.parse(l.entry)
    if spend then e.attempts = e.attempts + 1 end
    e.target = target
    if out_tokens >= 0 then e.out_tokens = out_tokens end
    back[#back + 1] = { lease = l, entry = flow.format(e), position = e.position, delay_ms = delay_ms,
                        target = target }
  end
end
-- The leases end before their entries wait again, so no claim meets an entry that is still leased.
for _, b in ipairs(back) do
  flow.give_back(lease.flow(ending, b.lease), b.entry, b.position, b.delay_ms)
  if b.delay_ms == 0 then parking.retargeted(b.lease.queue, b.target) end
end
lease.commit(ending)
shard.write_clock()
return reply
