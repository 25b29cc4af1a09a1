#!lua
-- claim: choose, check, reserve and lease entries of one shard, fairly, in one step.
--
-- KEYS[1]  epoch         string  brim:{s}:epoch
-- ARGV[1]  epoch         str     the caller's epoch
-- ARGV[2]  slots         int     most entries to lease, 1 … 128
-- ARGV[3]  open_slots    int     so many of them may go to any connection, the rest to none in `crowded`
-- ARGV[4]  holder        str     who will hold the leases
-- ARGV[5]  lease_ms      int     how long they last
-- ARGV[6]  window        int     entries that a flow's list holds at most (W)
-- ARGV[7]  may_suspect   0|1     whether one suspect (crashed twice or more) may be among them
-- ARGV[8…] crowded       str     connection budgets of which the holder has an equal share or more
--
-- RETURNS  {'claimed', now_ms, next_due_ms, holds_timer, first_fence, {queue, batch, …}, {flow, entry, target, flag, …}, refill}
--            next_due_ms  0: claim again at once; -1: nothing is known to become claimable; else the delay
--            flow         index into the list of flows, from 0;  flag  '' or the budget that can never admit the entry
--            refill       {queue, batch, gen, cursor, end, room} or {}
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include parking
--@include admission
--@include lease
--@include direct
--@include due

local epoch, slots, holder = ARGV[1], tonumber(ARGV[2]), ARGV[4]
local lease_ms, window = tonumber(ARGV[5]), tonumber(ARGV[6])
local may_suspect = ARGV[7] == '1'
admission.open_slots = tonumber(ARGV[3])
for i = 8, #ARGV do admission.crowded[ARGV[i]] = true end

local refused = shard.refuses(epoch)
if refused then return refused end
local now = shard.read_clock()
shard.claiming = true

local QUEUES = 10 -- queues walked in one call
local FLOWS = 16 -- flows of a queue looked at in one call
local QUANTUM = 4 -- entries of a flow served per visit
local PROMISED = 1e-5 -- what a token within a pool's smallest share costs its queue
local VISITS = slots + 64 -- bound of the walk
local PARKED = 32 -- flows that one call parks: each costs as much as granting several entries
local REFILL_LEASE_MS = 2000
local ASIDE_MS = 30000 -- an entry that waits for its fallback by itself is looked at so often: a resume does not know of it
local TIMER_TERM_MS = 1000 -- so long a worker holds the timer in a row

local granted = {} -- leases of this call
local parked = 0
local flow_index, flow_list = {}, {}
local running = {} -- feed news: queue, batch, positions
local refill = {}

local function load_queue(name, at)
  local packed, v, vt = unpack(redis.call('HMGET', key.queue_state(name), 'def', 'v', 'vt'))
  if not packed then return nil end
  local def = queue.decode(packed)
  local listed = redis.call('ZRANGE', key.queue(name), 0, FLOWS - 1, 'WITHSCORES')
  local flows = {}
  for i = 1, #listed, 2 do flows[#flows + 1] = { batch = listed[i], vt = tonumber(listed[i + 1]) } end
  return { name = name, tag = at, vt = tonumber(vt or 0), v = tonumber(v or 0), def = def, flows = flows, touched = false }
end

-- Prefetch the head of a flow's list: about its share of the slots, not more than it may use. What is leased already is
-- marked (never granted twice).
local function fetch(q, visited)
  local room = math.max(QUANTUM, math.ceil((slots - #granted) / #q.flows))
  local f = visited.f
  local texts = redis.call('LRANGE', key.flow(f.queue, f.batch), visited.taken, visited.taken + room - 1)
  visited.entries, visited.at = {}, 1
  if #texts == 0 then return end
  local ids = {}
  for i, text in ipairs(texts) do
    local e = flow.parse(text)
    visited.entries[i] = e
    ids[i] = lease.id(f.queue, f.batch, e.position)
  end
  for i, found in ipairs(redis.call('HMGET', key.leases, unpack(ids))) do
    visited.entries[i].taken = found and true or false
  end
end

local function load_flow(q, listed)
  local f = flow.load(q.name, listed.batch)
  if not f then return nil end
  f.vt = listed.vt
  listed.f, listed.taken, listed.granted, listed.entries, listed.at = f, 0, 0, {}, 1
  return f
end

local function grant(q, listed, e, target, budgets, probes, flag)
  local f = listed.f
  -- Virtual times are the start tags of what is served; what is only looked at does not move them.
  shard.virtual = math.max(shard.virtual, q.tag)
  q.v = math.max(q.v, f.vt)
  local flow_name = q.name .. '|' .. f.batch
  local index = flow_index[flow_name]
  if not index then
    index = #flow_list / 2
    flow_index[flow_name] = index
    flow_list[#flow_list + 1], flow_list[#flow_list + 2] = q.name, f.batch
    running[flow_name] = { queue = q.name, batch = f.batch, positions = {} }
  end
  granted[#granted + 1] = {
    id = lease.id(q.name, f.batch, e.position), holder = holder, queue = q.name, batch = f.batch, entry = e.text,
    budgets = budgets, in_tokens = flag == '' and e.in_tokens or 0, out_tokens = flag == '' and e.out_tokens or 0,
    bucket = math.floor(now / SUB_MS), probes = probes, flow = index, target = target, flag = flag,
  }
  if flag == '' then
    local positions = running[flow_name].positions
    positions[#positions + 1] = e.position
  end
  if flow.suspect(e) then may_suspect = false end
  listed.granted = listed.granted + 1
  local cost = math.max(1, e.tokens)
  f.vt = f.vt + cost / f.weight
  q.vt, q.tag = q.vt + cost / q.def.weight, q.tag + cost / q.def.weight
end

local function reserve_and_grant(q, listed, e, found)
  local first = admission.below_share(q, found)
  local ids, probes = admission.reserve(q, e, found)
  local vt = q.vt
  grant(q, listed, e, found.target, ids, probes, '')
  -- What a pool is promised costs its queues next to nothing: they stay at the connection's present virtual time, where
  -- they are served before those that were served last, and owe and are owed nothing afterwards. The trifle lets several
  -- pools have what they are promised side by side, by their shares; equal times would go by name, one pool after another.
  if first then q.vt = math.max(vt, found.connection.v) + PROMISED * math.max(1, e.tokens) / q.def.min_share end
end

-- The next entry of a flow does not fit a budget of tokens and holds its place there: of the few behind it, lease one
-- that may pass it. Answers true when one did; else shortens the wait in `by` to that of one that may soon.
local function pass(q, listed, e, by)
  local b = #by == 1 and budget.load(by[1][1])
  if not b or not hold.open(b, e) then return false end
  local smaller
  for i = listed.at + 1, math.min(listed.at + PASSING, #listed.entries) do
    local next_ = listed.entries[i]
    if not next_.taken and next_.target == e.target and next_.tokens < e.tokens and not flow.suspect(next_)
      and hold.lets_pass(b, e, next_) then
      local found = admission.try(q, listed.f, next_, { cost = e, id = b.id })
      if found.target then
        reserve_and_grant(q, listed, next_, found)
        redis.call('LREM', key.flow(listed.f.queue, listed.f.batch), 1, next_.text)
        table.remove(listed.entries, i)
        return true
      elseif found.blocked and #found.by == 1 and found.by[1][1] == b.id and found.by[1][2] < by[1][2] then
        by[1][2], smaller = found.by[1][2], next_
      end
    end
  end
  return false, smaller
end

-- A queue is blocked by `by` for an entry: by the first of its flows that was, or a later one that waits for less.
local function block_queue(q, by, e, smaller)
  if not q.blocked then
    q.blocked, q.need, q.smaller = by, e, smaller
    local b = #by == 1 and budget.load(by[1][1])
    if b and hold.open(b, e) then q.ahead = { cost = e, id = b.id } end
  elseif #by == 1 and #q.blocked == 1 and by[1][1] == q.blocked[1][1] and by[1][2] < q.blocked[1][2] then
    q.blocked, q.smaller = by, smaller or e
  end
end

-- Try to lease the next entry. Answers 'served', 'flow' (the flow is blocked or dry) or 'queue' (the queue is blocked).
local function serve_entry(q, listed)
  if listed.at > #listed.entries then
    fetch(q, listed)
    if #listed.entries == 0 then return 'flow' end
  end
  local f, e = listed.f, listed.entries[listed.at]
  if q.blocked and not q.ahead and e.target == 0 then return 'flow' end
  if e.taken then
    listed.at, listed.taken = listed.at + 1, listed.taken + 1
    return 'served'
  end
  if flow.suspect(e) and not may_suspect then
    flow.put_aside(f.queue, f.batch, { e.text }, now + CROWDED_MS)
    listed.at, listed.taken = listed.at + 1, listed.taken + 1
    return 'served'
  end
  local found = admission.try(q, f, e, q.ahead)
  if found.blocked == 'queue' and e.target > 0 then
    -- Only this entry moved to a fallback: the others of its queue must not wait for that connection.
    flow.put_aside(f.queue, f.batch, { e.text }, now + math.min(ASIDE_MS, math.max(CROWDED_MS, found.by[1][2])))
    listed.at, listed.taken = listed.at + 1, listed.taken + 1
    return 'served'
  elseif found.blocked then
    local passed, smaller = pass(q, listed, e, found.by)
    if passed then return 'served' end
    if found.blocked == 'flow' then
      parking.flow(f, found.by[1][1], found.by[1][2], e, smaller)
    else
      block_queue(q, found.by, e, smaller)
    end
    return found.blocked
  end
  listed.at, listed.taken = listed.at + 1, listed.taken + 1
  if found.never then
    grant(q, listed, e, e.target, {}, {}, found.never)
  else
    reserve_and_grant(q, listed, e, found)
  end
  return 'served'
end

-- Entries of a flow that are not in its list.
local function held_elsewhere(f) return f.leased + redis.call('ZCARD', flow.deferred_key(f.queue, f.batch)) end

-- A flow's window runs low: one claimer at a time brings more.
local function order_refill(f, waiting)
  if #refill > 0 or f.cursor >= f.end_ or f.refill_until > now or waiting >= window / 2 then return end
  if waiting + held_elsewhere(f) >= 2 * window then return end
  f.refill_until = now + REFILL_LEASE_MS
  redis.call('HSET', flow.state_key(f.queue, f.batch), 'refill_until', f.refill_until)
  refill = { f.queue, f.batch, tostring(f.gen), tostring(f.cursor), tostring(f.end_), tostring(window - waiting) }
end

-- Write what a visit did to a flow.
local function save_flow(listed)
  local f = listed.f
  if not f then return end
  local list, state = key.flow(f.queue, f.batch), flow.state_key(f.queue, f.batch)
  if listed.taken > 0 then redis.call('LPOP', list, listed.taken) end
  f.leased = f.leased + listed.granted
  local waiting = redis.call('LLEN', list)
  redis.call('HSET', state, 'vt', f.vt, 'leased', f.leased)
  order_refill(f, waiting)
  if f.parked then return end
  if waiting > 0 then
    redis.call('ZADD', key.queue(f.queue), f.vt, f.batch)
  else
    redis.call('ZREM', key.queue(f.queue), f.batch)
    -- A flow that holds all it may is looked at when one of its leases ends or an entry is due, not before.
    if f.cursor < f.end_ and held_elsewhere(f) < 2 * window then
      flow.look_at(f.queue, f.batch, math.max(now + 1, f.refill_until))
    end
  end
end

-- The candidate with the lowest start tag.
local function lowest(list)
  local best
  for _, candidate in ipairs(list) do
    local tag = candidate.tag or candidate.vt
    if not candidate.done and (not best or tag < (best.tag or best.vt)) then best = candidate end
  end
  return best
end

local function park_queue(q)
  parking.queue(q.name, q.vt, q.blocked, q.need, q.smaller)
  q.parked = true
end

-- The queue to serve next: the lowest tag decides whose connection has its turn, and what the connection owes decides
-- which of its queues takes it. (By tags alone, queues freed together would get a turn each, whatever their weight.)
local function next_queue(queues)
  local best = lowest(queues)
  for _, q in ipairs(best and queues or {}) do
    if not q.done and q.def.targets[1] == best.def.targets[1] and q.vt < best.vt then best = q end
  end
  return best
end

-- One visit: the queue's lowest flow, a quantum of entries.
local function visit(q)
  local listed = lowest(q.flows)
  if not listed then
    q.done = true
    if q.blocked then park_queue(q) end
    return
  end
  q.touched = true
  if not listed.f and not load_flow(q, listed) then
    redis.call('ZREM', key.queue(q.name), listed.batch)
    listed.done = true
    return
  end
  if listed.f.dead or listed.f.paused or listed.f.parked then
    redis.call('ZREM', key.queue(q.name), listed.batch)
    listed.f, listed.done = nil, true
    return
  end
  for _ = 1, QUANTUM do
    if #granted >= slots then return end
    local outcome = serve_entry(q, listed)
    listed.vt = listed.f.vt
    if outcome == 'flow' then
      listed.done = true
      if listed.f.parked then parked = parked + 1 end
      return
    elseif outcome == 'queue' then
      -- Heads of other flows may be smaller, or with several targets on their way to one that is free.
      listed.done = true
      q.refused = (q.refused or 0) + 1
      if q.refused > PASSING or not q.ahead and (#q.def.targets < 2 or q.def.spill) then
        q.done = true
        park_queue(q)
      end
      return
    end
  end
end

local function save_queue(q)
  if not q.touched then return end
  for _, listed in ipairs(q.flows) do save_flow(listed) end
  redis.call('HSET', key.queue_state(q.name), 'vt', q.vt, 'at', q.tag, 'v', q.v)
  if q.parked then return end
  if redis.call('EXISTS', key.queue(q.name)) == 1 then
    redis.call('ZADD', key.active, q.tag, q.name)
  else
    redis.call('ZREM', key.active, q.name)
  end
end

local more_due = due.flows()
more_due = due.budgets() or more_due
local walked, queues = redis.call('ZRANGE', key.active, 0, QUEUES - 1, 'WITHSCORES'), {}
for i = 1, #walked, 2 do
  local q = load_queue(walked[i], tonumber(walked[i + 1]))
  if q then queues[#queues + 1] = q else redis.call('ZREM', key.active, walked[i]) end
end
for _ = 1, VISITS do
  local q = #granted < slots and parked < PARKED and next_queue(queues) or nil
  if not q then break end
  visit(q)
end
for _, q in ipairs(queues) do
  if #q.flows == 0 then q.touched = true end
  save_queue(q)
end

local first_fence = 0
local reply = {}
if #granted > 0 then
  first_fence = redis.call('INCRBY', key.fence, #granted) - #granted + 1
  local records, deadlines, processing = {}, {}, {}
  for i, l in ipairs(granted) do
    l.fence = first_fence + i - 1
    records[#records + 1], records[#records + 2] = l.id, lease.pack(l)
    deadlines[#deadlines + 1], deadlines[#deadlines + 2] = now + lease_ms, l.id
    local members = processing[l.queue] or {}
    members[#members + 1], members[#members + 2] = now + lease_ms, l.id
    processing[l.queue] = members
    reply[#reply + 1], reply[#reply + 2], reply[#reply + 3], reply[#reply + 4] = l.flow, l.entry, l.target, l.flag
  end
  redis.call('HSET', key.leases, unpack(records))
  redis.call('ZADD', key.deadlines, unpack(deadlines))
  for name, members in pairs(processing) do redis.call('ZADD', key.processing(name), unpack(members)) end
  for _, news in pairs(running) do
    if #news.positions > 0 then shard.ring(news.queue, news.batch, 'running', table.concat(news.positions, ',')) end
  end
end
budget.save()
shard.write_clock()

local left = redis.call('EXISTS', key.active) == 1
shard.claiming = false
if left then shard.wake() end
if left or more_due then return { 'claimed', now, 0, 0, first_fence, flow_list, reply, refill } end
local soonest
for _, index in ipairs({ key.budgets_due, key.flows_due }) do
  local first = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
  if first then soonest = math.min(soonest or tonumber(first), tonumber(first)) end
end
if not soonest then return { 'claimed', now, -1, 0, first_fence, flow_list, reply, refill } end
soonest = math.max(soonest, now + 1)
local timer_ms, timer_holder, since_ms = shard.timer()
if timer_holder == holder and now - since_ms >= TIMER_TERM_MS then
  -- Pass the timer on: whoever waits longest takes it, so a shard that a limit binds is not served by one worker alone.
  redis.call('DEL', key.timer)
  shard.wake()
  return { 'claimed', now, math.ceil(soonest - now), 0, first_fence, flow_list, reply, refill }
end
local holds = 0
if timer_ms == nil or timer_holder == holder or timer_ms < now - 100 or soonest < timer_ms then
  shard.set_timer(math.ceil(soonest), holder, timer_holder == holder and since_ms or now)
  holds = 1
end
return { 'claimed', now, math.ceil(soonest - now), holds, first_fence, flow_list, reply, refill }
