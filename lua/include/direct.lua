-- direct: a call that is answered in the request that brings it: its budgets admit it at once, or it waits in their line.
--
-- direct-calls is a hash: ticket → cmsgpack {queue, holder, lease_ms, until_ms, target, in_tokens, out_tokens, {budget …},
-- {budget, tag, …}, covered budget or ''}. Who waits is the member 'd|<ticket>' of the waiting sets that the pairs name,
-- with a start tag of start-time fair queueing: all direct calls of a budget are one flow, whose finish tag is the
-- budget's field 'direct'. When the budget admits it, its lease is made there and then, and its ticket is pushed into the
-- list of its holder. Its lease names the ticket as its batch, and no flow: settled, released or reclaimed, it is gone.

local DIRECT_FACTOR = 4 -- a direct call counts a quarter of what it would in a batch of the same resource
local GRANTS_S = 60 -- a list of grants that nobody reads
local LATE_MS = 2000 -- a ticket outlives the patience of its holder by this
local TICKETS = 64 -- tickets admitted by one look at a budget

-- The time that one such call takes of the rate of a budget.
local function slot_ms(b, cost)
  local longest = 0
  for _, limit in ipairs(b.def.limits) do
    if limit.sub_buckets then
      if limit.requests > 0 then longest = math.max(longest, limit.period_ms / limit.requests) end
      if limit.tokens > 0 then longest = math.max(longest, cost[limit.meter] * limit.period_ms / limit.tokens) end
    end
  end
  return longest
end

local function member_of(ticket) return 'd|' .. ticket end

function direct.load(ticket)
  local packed = redis.call('HGET', key.direct, ticket)
  if not packed then return nil end
  local raw = cmsgpack.unpack(packed)
  return { ticket = ticket, queue = raw[1], holder = raw[2], lease_ms = raw[3], until_ms = raw[4], target = raw[5],
           in_tokens = raw[6], out_tokens = raw[7], tokens = raw[6] + raw[7], budgets = raw[8], parked = raw[9],
           covered = raw[10] }
end

local function store(t)
  redis.call('HSET', key.direct, t.ticket, cmsgpack.pack({ t.queue, t.holder, t.lease_ms, t.until_ms, t.target, t.in_tokens,
    t.out_tokens, t.budgets, t.parked, t.covered }))
end

local function parked_at(t, id)
  for i = 1, #t.parked, 2 do
    if t.parked[i] == id then return t.parked[i + 1] end
  end
  return nil
end

local function first_waiting(id)
  local first = redis.call('ZRANGE', key.waiting(id), 0, 0, 'WITHSCORES')
  return first[1], tonumber(first[2])
end

local function service(t, def) return math.max(1, t.tokens) / (DIRECT_FACTOR * def.weight) end

local function finish_tag(id) return tonumber(redis.call('HGET', key.budget(id), 'direct') or 0) end

-- Where a call stands in the line of a budget: behind the direct calls before it, ahead of batches that had their part.
-- Where no virtual time is kept (keys, resources) tags of direct calls must not run away from those of batches.
local function start_tag(id, t, def)
  local tag = parked_at(t, id)
  if tag then return tag end
  local _, lowest = first_waiting(id)
  local v, finish = budget.virtual(id), finish_tag(id)
  if v > 0 then return math.max(finish, math.min(v, lowest or v)) end
  local base = lowest or 0
  return math.max(base, math.min(finish, base + service(t, def)))
end

local function covers(t, b) return t.covered == b.id or (t.covered == '' and share.covers(b)) end

-- How a budget stands to a call: nil when it admits it now and nobody is before it; else how long it must wait, and
-- whether that is only a guess (calls in flight must end, a probe must be answered). -1: for ever.
local function standing(t, def, b, covered)
  local wait = budget.wait(b, t, covered and 'covered' or 'direct')
  if wait < 0 then return -1, false end
  local places = b.def.max_in_flight
  local guess = (places >= 0 and b.st[IN_FLIGHT] >= places) or (b.st[RECOVERING] == 1 and b.st[PAUSED_UNTIL] <= shard.now)
  if covered then
    if wait == 0 then return nil end
    return wait, guess
  end
  local first, lowest = first_waiting(b.id)
  local tag = start_tag(b.id, t, def)
  if not first or first == member_of(t.ticket) or tag < lowest or (tag == lowest and string.sub(first, 1, 2) ~= 'd|') then
    if wait == 0 then return nil end
    return wait, guess
  end
  -- Who is before it goes first, and what the direct calls among them take of the pace is gone.
  local ahead = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', key.waiting(b.id), '-inf', tag, 'LIMIT', 0, TICKETS)) do
    if member ~= member_of(t.ticket) and string.sub(member, 1, 2) == 'd|' then ahead = ahead + 1 end
  end
  return math.max(1, wait) + math.ceil(slot_ms(b, t) * ahead), guess
end

-- Budgets of target i: its connection's, what was learned of its model there, and its pool's. nil: not defined.
local function of_target(def, i)
  local list = { budget.load(def.targets[i]) }
  if #list == 0 then return nil end
  for _, more in ipairs({ def.models[i] or '', def.pools[i] or '' }) do
    if more ~= '' then list[#list + 1] = budget.load(more) end
  end
  return list
end

-- The worst of some budgets: the one that keeps the call waiting longest. Answers wait (0: none), guess, budget. What was
-- learned of a model follows its connection: what is within the share there is within it here.
local function worst(t, def, list, of_one_target)
  local longest, is_guess, by = 0, false, nil
  local covered = of_one_target and covers(t, list[1])
  for _, b in ipairs(list) do
    local wait, guess = standing(t, def, b, covered or covers(t, b))
    if wait == -1 then return -1, false, b end
    if wait and wait > longest then longest, is_guess, by = wait, guess, b end
  end
  return longest, is_guess, by
end

-- May the call start? Answers 'now', its target (from 0) and all its budgets; or 'wait', ms, guess, and the list of
-- {budget, ms} to park on; or 'never' or 'unknown' and the id of a budget.
function direct.check(t, def)
  local binding = {}
  for _, ids in ipairs({ t.budgets, def.budgets }) do
    for _, id in ipairs(ids) do
      local b = budget.load(id)
      if not b then return 'unknown', id end
      binding[#binding + 1] = b
    end
  end
  local wait, guess, by = worst(t, def, binding)
  if wait < 0 then return 'never', by.id end
  local first = math.min(t.target + 1, #def.targets)
  local blocked, soonest, soonest_guess, never = {}, nil, false, nil
  for i = first, #def.targets do
    local list = of_target(def, i)
    if not list then return 'unknown', def.targets[i] end
    local target_wait, target_guess, target_by = worst(t, def, list, true)
    if target_wait < 0 then
      never = target_by.id
    elseif target_wait == 0 and wait == 0 then
      for _, b in ipairs(list) do binding[#binding + 1] = b end
      return 'now', i - 1, binding
    else
      if target_by then blocked[#blocked + 1] = { target_by, target_wait } end
      if not soonest or target_wait < soonest then soonest, soonest_guess = target_wait, target_guess end
    end
    -- Without spill the next one serves only where this one is shut, or could never take it.
    if not def.spill and target_wait >= 0 and not (target_by and budget.shut(target_by)) then break end
  end
  if not soonest then return 'never', never end
  if wait >= soonest then return 'wait', wait, guess, { { by, wait } } end
  return 'wait', soonest, soonest_guess, blocked
end

-- Take a ticket out of every line. Where it was not served, what it moved the finish tag by comes back.
local function unpark(t, def, served)
  for i = 1, #t.parked, 2 do
    local id = t.parked[i]
    redis.call('ZREM', key.waiting(id), member_of(t.ticket))
    if not served[id] and id ~= t.covered and def then
      local b = budget.load(id)
      if b then redis.call('HSET', b.key, 'direct', math.max(0, finish_tag(id) - service(t, def))) end
    end
  end
  t.parked = {}
end

-- What a call has taken of a share comes back.
local function uncover(t)
  local b = budget.load(t.covered)
  if b then share.use(b, t, -1) end
end

-- Nobody wants this call any more.
function direct.leave(t, def)
  unpark(t, def, {})
  redis.call('HDEL', key.direct, t.ticket)
  if t.covered ~= '' then uncover(t) end
end

-- Make the lease of a call that may start. Answers it.
function direct.grant(t, def, target, budgets)
  local ids, probes, served = {}, {}, {}
  for i, b in ipairs(budgets) do
    local covered = t.covered == b.id
    if not covered and t.covered == '' and share.covers(b) then
      share.use(b, t, 1)
      covered = true
    end
    ids[i], served[b.id] = b.id, true
    if not covered then
      local tag = start_tag(b.id, t, def)
      if not parked_at(t, b.id) then redis.call('HSET', b.key, 'direct', tag + service(t, def)) end
      if b.id == def.targets[target + 1] then b.v = math.max(b.v, tag) end
    end
    local probed = budget.reserve(b, t)
    if probed > 0 then probes[#probes + 1], probes[#probes + 2] = b.id, probed end
  end
  unpark(t, def, served)
  if t.covered ~= '' and not served[t.covered] then uncover(t) end
  redis.call('HDEL', key.direct, t.ticket)
  local entry = { position = '1', run = '1', in_tokens = t.in_tokens, out_tokens = t.out_tokens, attempts = 0, crashes = 0,
                  target = target }
  local l = {
    id = lease.id(t.queue, t.ticket, entry.position), fence = redis.call('INCR', key.fence), holder = t.holder, queue = t.queue,
    batch = t.ticket, entry = flow.format(entry), budgets = ids, in_tokens = t.in_tokens, out_tokens = t.out_tokens,
    bucket = math.floor(shard.now / SUB_MS), probes = probes,
  }
  redis.call('HSET', key.leases, l.id, lease.pack(l))
  redis.call('ZADD', key.deadlines, shard.now + t.lease_ms, l.id)
  redis.call('ZADD', key.processing(t.queue), shard.now + t.lease_ms, l.id)
  return l
end

-- Those pairs of a list of parking places that are not kept.
local function others(places, kept)
  local found = {}
  for i = 1, #places, 2 do
    if not kept[places[i]] then found[#found + 1], found[#found + 2] = places[i], places[i + 1] end
  end
  return found
end

-- Let a call wait in the lines of the budgets in `blocked`, a list of {budget, wait_ms}.
function direct.park(t, def, blocked)
  local before = t.parked
  local stays, parked = {}, {}
  for _, by in ipairs(blocked) do
    local b = by[1]
    local tag = start_tag(b.id, t, def)
    if not parked_at(t, b.id) then
      if t.covered == '' and share.covers(b) then
        share.use(b, t, 1)
        t.covered, tag = b.id, 0
      else
        redis.call('HSET', b.key, 'direct', tag + service(t, def))
      end
    end
    stays[b.id] = true
    parked[#parked + 1], parked[#parked + 2] = b.id, tag
    redis.call('ZADD', key.waiting(b.id), tag, member_of(t.ticket))
    due_by(b.id, by[2])
  end
  t.parked = before
  unpark({ ticket = t.ticket, parked = others(before, stays), tokens = t.tokens, covered = t.covered }, def, {})
  t.parked = parked
  store(t)
end

local function tell(t)
  local grants = key.grants(t.holder)
  redis.call('RPUSH', grants, t.ticket)
  redis.call('EXPIRE', grants, GRANTS_S)
end

-- Try the ticket that is first in a budget's line. Answers true when it left the line; else how long it must wait there.
local function try(id, ticket)
  local t = direct.load(ticket)
  local packed = t and redis.call('HGET', key.queue_state(t.queue), 'def')
  if not packed or t.until_ms <= shard.now then
    redis.call('ZREM', key.waiting(id), member_of(ticket))
    if t then direct.leave(t, packed and queue.decode(packed)) end
    return true
  end
  local def = queue.decode(packed)
  local verdict, first, second, blocked = direct.check(t, def)
  if verdict == 'now' then
    direct.grant(t, def, first, second)
    tell(t)
    return true
  elseif verdict == 'wait' then
    direct.park(t, def, blocked)
    for _, by in ipairs(blocked) do
      if by[1].id == id then return false, by[2] end
    end
    return true
  end
  direct.leave(t, def)
  tell(t) -- it asks again, and hears why
  return true
end

-- Admit the tickets at the head of a budget's line. Answers the wait of the one that is stuck there; nil: none is.
function direct.promote(id)
  for _ = 1, TICKETS do
    local first = first_waiting(id)
    if not first or string.sub(first, 1, 2) ~= 'd|' then return nil end
    local left, wait_ms = try(id, string.sub(first, 3))
    if not left then return wait_ms end
  end
  return 1
end
