#!lua flags=allow-oom
-- announce: after a loss of Redis, take up again the leases of calls that are still under way, so that nobody makes them
-- twice. A lease that Redis still holds goes on under its fence; one that it lost is made anew, unless another has the
-- entry by now.
--
-- KEYS[1]  epoch     string  brim:{s}:epoch
-- ARGV[1]  epoch     str     the caller's epoch
-- ARGV[2]  holder    str     who holds them
-- ARGV[3]  lease_ms  int     they last so long from now
-- ARGV[4…] leases            quintuples: queue, batch, entry, fence, target; at most 128
--
-- RETURNS  {'announced', fence, …}   of each lease from now on; 0: lost; -1: its flow is not repaired yet, ask again
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include lease
--@include direct

local epoch, holder, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local FIRST, WIDTH_OF_LEASE = 4, 5
local LONG_AGO = 0 -- sub-bucket of a booking that is not in the books: giving it back gives nothing

local refused = shard.refuses(epoch)
if refused then return refused end
local now = shard.read_clock()

local recovering = redis.call('EXISTS', key.recovery) == 1
local definitions = {}

local function definition_of(name)
  if definitions[name] == nil then
    local packed = redis.call('HGET', key.queue_state(name), 'def')
    definitions[name] = packed and queue.decode(packed) or false
  end
  return definitions[name] or nil
end

-- What binds the entry: the budgets that count its call in flight, as far as they are known.
local function budgets_of(f, def, target)
  local ids = {}
  local named = { f.budgets, def.budgets, { def.targets[target + 1], def.models[target + 1], def.pools[target + 1] } }
  for _, list in ipairs(named) do
    for _, id in pairs(list) do
      if id ~= '' and budget.load(id) then ids[#ids + 1] = id end
    end
  end
  return ids
end

local function write(l)
  redis.call('ZADD', key.deadlines, now + lease_ms, l.id)
  redis.call('ZADD', key.processing(l.queue), now + lease_ms, l.id)
end

-- Make a lease anew: its call is in flight on its budgets, and was booked by what is presumed of the time before.
local function take_up(queue_name, batch, e, target)
  local f, def = flow.load(queue_name, batch), definition_of(queue_name)
  if not f or not def then return recovering and -1 or 0 end
  local ids = budgets_of(f, def, target)
  for _, id in ipairs(ids) do
    local b = budget.load(id)
    b.st[IN_FLIGHT] = b.st[IN_FLIGHT] + 1
    b.dirty = true
  end
  local l = {
    id = lease.id(queue_name, batch, e.position), fence = redis.call('INCR', key.fence), holder = holder,
    queue = queue_name, batch = batch, entry = e.text, budgets = ids, in_tokens = e.in_tokens, out_tokens = e.out_tokens,
    bucket = LONG_AGO, probes = {},
  }
  redis.call('HSET', key.leases, l.id, lease.pack(l))
  redis.call('HINCRBY', flow.state_key(queue_name, batch), 'leased', 1)
  write(l)
  return l.fence
end

local reply = { 'announced' }
for i = FIRST, #ARGV, WIDTH_OF_LEASE do
  local queue_name, batch, e = ARGV[i], ARGV[i + 1], flow.parse(ARGV[i + 2])
  local fence, target = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local packed = redis.call('HGET', key.leases, lease.id(queue_name, batch, e.position))
  local l = packed and lease.unpack(packed) or nil
  -- A lease that this call made and whose answer was lost has no booking yet.
  if l and (l.fence == fence or l.holder == holder and l.bucket == LONG_AGO) then
    l.id = lease.id(queue_name, batch, e.position)
    write(l)
    reply[#reply + 1] = l.fence
  else
    reply[#reply + 1] = l and 0 or take_up(queue_name, batch, e, target)
  end
end
budget.save()
shard.write_clock()
return reply
