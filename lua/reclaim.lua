#!lua flags=allow-oom
-- reclaim: take back leases whose holder went silent. What they booked stays booked: the call may have been made.
--
-- KEYS[1]  epoch     string  brim:{s}:epoch
-- ARGV[1]  epoch     str     the caller's epoch
-- ARGV[2]  holder    str     who reclaims; it gets the leases of dead entries, to record them
-- ARGV[3]  lease_ms  int     for those leases
-- ARGV[4]  most      int     at most so many, up to 128
-- ARGV[5…] living    str     holders that gave a sign of life lately: what they do not hold any more did not kill them
--
-- RETURNS  {'reclaimed', n, now_ms, first_fence, {queue, batch, entry, …}}   the dead ones, leased to the holder
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, holder, lease_ms, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local refused = shard.refuses(epoch)
if refused then return refused end
local now = shard.read_clock()

local living = {}
for i = 5, #ARGV do living[ARGV[i]] = true end

local DEAD_AFTER = 5 -- holders that died with an entry
local SUSPECT_DELAY_MS = 1000 -- per crash, from the second on: a suspect comes back later

local ids = redis.call('ZRANGEBYSCORE', key.deadlines, '-inf', now, 'LIMIT', 0, most)
local ending, back, dead = lease.ending(), {}, {}
for i, packed in ipairs(#ids > 0 and redis.call('HMGET', key.leases, unpack(ids)) or {}) do
  if not packed then
    redis.call('ZREM', key.deadlines, ids[i])
  else
    local l = lease.unpack(packed)
    l.id = ids[i]
    local e = flow.parse(l.entry)
    -- A lease without budgets was a dead letter or an item that can never fit: its holder died before recording it. Of one
    -- whose holder lives the claim was answered too late, or nothing that would have renewed it came through.
    if #l.budgets > 0 and not living[l.holder] then e.crashes = e.crashes + 1 end
    l.entry = flow.format(e)
    if e.crashes >= DEAD_AFTER then
      dead[#dead + 1] = l
      for _, id in ipairs(l.budgets) do
        local b = budget.load(id)
        if b and budget.land(b, lease.probed(l, id), false) then ending.freed[id] = true end
      end
    else
      lease.finish(ending, l, false)
      local delay_ms = e.crashes >= 2 and e.crashes * SUSPECT_DELAY_MS or 0
      back[#back + 1] = { lease = l, entry = l.entry, position = e.position, delay_ms = delay_ms }
    end
  end
end
for i = #back, 1, -1 do
  local b = back[i]
  flow.give_back(lease.flow(ending, b.lease), b.entry, b.position, b.delay_ms)
  if b.delay_ms == 0 then parking.retargeted(b.lease.queue, flow.parse(b.entry).target) end
end
local first_fence, reply = 0, {}
if #dead > 0 then
  first_fence = redis.call('INCRBY', key.fence, #dead) - #dead + 1
  for i, l in ipairs(dead) do
    l.fence, l.holder, l.budgets, l.in_tokens, l.out_tokens, l.probes = first_fence + i - 1, holder, {}, 0, 0, {}
    redis.call('HSET', key.leases, l.id, lease.pack(l))
    redis.call('ZADD', key.deadlines, now + lease_ms, l.id)
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = l.queue, l.batch, l.entry
  end
end
lease.commit(ending)
shard.write_clock()
return { 'reclaimed', #ids, now, first_fence, reply }
