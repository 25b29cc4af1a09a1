#!lua
-- admit: let one direct call start, put it into the line of what binds it, or say when to ask again. May be repeated.
--
-- KEYS[1]  epoch        string  brim:{s}:epoch
-- ARGV[1]  epoch        str     the caller's epoch
-- ARGV[2]  queue        str     <ws>:<env>:<resource>
-- ARGV[3]  ticket       str     names the call; of several with one place in line the lowest goes first
-- ARGV[4]  holder       str     who holds the lease, and is told of it in brim:{s}:grants:<holder>
-- ARGV[5]  lease_ms     int     how long the lease lasts
-- ARGV[6]  wait_ms      int     how long the call may wait from now; 0: only now or not at all; -1: it is given up
-- ARGV[7]  target       int     index of the first target that it may use
-- ARGV[8]  in_tokens    int     estimated
-- ARGV[9]  out_tokens   int     reserved
-- ARGV[10…] budgets     str     that bind this call beside those of its resource
--
-- RETURNS  {'admitted', age_ms, fence, target, lease_ms}  the lease was made age_ms ago; position 1 of the flow <ticket>
--          {'waiting', ask_ms, budget}                    ask again then, or when told
--          {'refused', wait_ms, budget, shut 0|1}         it would have to wait this long; it is not in line. shut: the budget
--                                                         is paused, and not for a limit
--          {'exceeds', budget}                            it can never fit
--          {'unknown', name}                              a queue or budget that is not defined
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, queue_name, ticket, holder = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, wait_ms, target = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local in_tokens, out_tokens, budgets = tonumber(ARGV[8]), tonumber(ARGV[9]), {}
for i = 10, #ARGV do budgets[#budgets + 1] = ARGV[i] end

local refused = shard.refuses(epoch)
if refused then return refused end
local now = shard.read_clock()

local lease_id = lease.id(queue_name, ticket, '1')

-- The lease of this ticket, when it was made already.
local function granted()
  local packed = redis.call('HGET', key.leases, lease_id)
  local l = packed and lease.unpack(packed)
  if not l or l.holder ~= holder then return nil end
  local deadline_ms = tonumber(redis.call('ZSCORE', key.deadlines, lease_id) or now)
  local age_ms = math.max(0, math.floor(lease_ms - (deadline_ms - now)))
  return { 'admitted', age_ms, l.fence, flow.parse(l.entry).target, lease_ms }
end

local function decide()
  local reply = granted()
  if reply then return reply end
  local packed = redis.call('HGET', key.queue_state(queue_name), 'def')
  if not packed then return { 'unknown', queue_name } end
  local def, t = queue.decode(packed), direct.load(ticket)
  local line = t and t.parked or {}
  if wait_ms < 0 then
    if t then direct.leave(t, def) end
    for i = 1, #line, 2 do parking.hand_on(line[i]) end
    return { 'refused', 0, '', 0 }
  end
  for i = 1, #line, 2 do parking.promote(line[i], 1) end
  reply = granted()
  if reply then return reply end
  t = t and direct.load(ticket)
    or { ticket = ticket, queue = queue_name, holder = holder, lease_ms = lease_ms, target = target, in_tokens = in_tokens,
         out_tokens = out_tokens, tokens = in_tokens + out_tokens, budgets = budgets, parked = {}, covered = '' }
  local verdict, first, second, blocked = direct.check(t, def)
  local soonest
  for _, each in ipairs(blocked or {}) do
    if not soonest or each[2] < soonest[2] then soonest = each end
  end
  if verdict == 'now' then
    local l = direct.grant(t, def, first, second)
    return { 'admitted', 0, l.fence, first, lease_ms }
  elseif verdict == 'wait' and wait_ms > 0 and (second or first <= wait_ms) then
    t.until_ms = now + wait_ms + LATE_MS
    direct.park(t, def, blocked)
    return { 'waiting', math.min(first, wait_ms), soonest[1].id }
  end
  line = t.parked
  direct.leave(t, def)
  for i = 1, #line, 2 do parking.hand_on(line[i]) end
  if verdict == 'wait' then return { 'refused', first, soonest[1].id, budget.shut(soonest[1]) and 1 or 0 } end
  return { verdict == 'never' and 'exceeds' or 'unknown', first }
end

local reply = decide()
budget.save()
shard.write_clock()
return reply
