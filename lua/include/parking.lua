-- parking: what is blocked waits on the budget that blocks it, and is promoted when that budget admits again.
--
-- A budget's waiting set holds flows ('f|<queue>|<batch>') and queues ('q|<queue>') by virtual time, so the one that
-- was served least goes first. A budget with waiters has one entry in budgets-due. So no herd and no scan.

local direct = {} -- include direct: single calls in the same lines, as 'd|<ticket>'

local COALESCE_MS = 25 -- wake for a paced budget at most every 25 ms; the burst covers what came due meanwhile
local PASSING = 8 -- entries, flows or waiters looked at behind one that holds its place
local DIVERTED = 256 -- queues that go on elsewhere at once when a budget is shut; the others when they are promoted
local AGAIN_MS = 50 -- a budget that promoted and still has headroom and waiters is due again
local HANDED_ON = 16 -- waiters that one budget promotes when something ends

-- When to look at a budget next.
local function due(id, wait_ms)
  local b = budget.loaded[id]
  if b then pace.waited(b) end
  local at_ms = shard.now + math.max(COALESCE_MS, wait_ms)
  redis.call('ZADD', key.budgets_due, at_ms, id)
  shard.expect(at_ms)
  return at_ms
end

-- Another waiter came: it may bring the next look forward, but not put off what an earlier one waits for.
local function due_by(id, wait_ms)
  local b = budget.loaded[id]
  if b then pace.waited(b) end
  local at_ms = shard.now + math.max(COALESCE_MS, wait_ms)
  redis.call('ZADD', key.budgets_due, 'LT', at_ms, id)
  shard.expect(at_ms)
  return at_ms
end

-- 'in out' of the entry that waits, and of a smaller one behind it that may go before it.
local function need_text(cost, smaller)
  local text = string.format('%d %d', cost.in_tokens, cost.out_tokens)
  return smaller and string.format('%s %d %d', text, smaller.in_tokens, smaller.out_tokens) or text
end

-- Park a flow on a budget for an entry of that cost, and take it out of its queue. The budget may not be defined yet:
-- it admits nothing until it is. smaller: what may go before the entry, if that is what wait_ms is for.
function parking.flow(f, id, wait_ms, cost, smaller)
  redis.call('ZREM', key.queue(f.queue), f.batch)
  redis.call('HSET', flow.state_key(f.queue, f.batch), 'parked', id, 'need', need_text(cost, smaller), 'vt', f.vt)
  f.parked = id
  budget.changed_line(id)
  redis.call('ZADD', key.waiting(id), f.vt, 'f|' .. f.queue .. '|' .. f.batch)
  due_by(id, wait_ms)
end

-- Park a queue on every budget in `blocked`, a list of {id, wait_ms} (several targets: the first to free promotes it).
function parking.queue(name, vt, blocked, cost, smaller)
  redis.call('ZREM', key.active, name)
  redis.call('HSET', key.queue_state(name), 'parked', '1', 'need', need_text(cost, smaller), 'vt', vt)
  local earliest
  for _, by in ipairs(blocked) do
    budget.changed_line(by[1])
    redis.call('ZADD', key.waiting(by[1]), vt, 'q|' .. name)
    local at_ms = due_by(by[1], by[2])
    earliest = math.min(earliest or at_ms, at_ms)
  end
  redis.call('ZADD', key.standby, earliest, name)
end

-- Let a parked queue go on, wherever it waits.
function parking.free_queue(name)
  local packed = redis.call('HGET', key.queue_state(name), 'def')
  redis.call('ZREM', key.standby, name)
  redis.call('HDEL', key.queue_state(name), 'parked', 'need')
  if packed then
    local def = queue.decode(packed)
    for _, ids in ipairs({ def.targets, def.budgets, def.models, def.pools }) do
      for _, id in ipairs(ids) do
        redis.call('ZREM', key.waiting(id), 'q|' .. name)
        budget.changed_line(id)
      end
    end
  end
  if redis.call('EXISTS', key.queue(name)) == 1 then queue.activate(name, true) end
end

-- Who held a place at a budget is gone: those behind it are looked at at once.
function parking.look_soon(id)
  if redis.call('EXISTS', key.waiting(id)) == 1 then due_by(id, 0) end
end

-- A queue may wait for what it needs no more.
function parking.look_again(name)
  local parked, packed = unpack(redis.call('HMGET', key.queue_state(name), 'parked', 'def'))
  if not parked then return end
  parking.free_queue(name)
  local def = packed and queue.decode(packed)
  for _, ids in ipairs(def and { def.targets, def.budgets, def.models, def.pools } or {}) do
    for _, id in ipairs(ids) do parking.look_soon(id) end
  end
end

-- An entry that moved to a fallback came back: its queue may wait for the first target, which is not what it needs.
function parking.retargeted(name, target)
  if target > 0 then parking.look_again(name) end
end

local function free_flow(name, batch)
  local f = flow.load(name, batch)
  if not f then return end
  redis.call('HDEL', flow.state_key(name, batch), 'parked', 'need')
  f.parked = nil
  flow.offer(f)
end

-- What the first entry of a waiter costs. Of the one that goes first, and of no other: a large one that came later must
-- not keep a small one waiting.
local function need_of(member)
  local name, batch = string.match(member, '^f|([^|]*)|(.*)$')
  local state = name and flow.state_key(name, batch) or key.queue_state(string.sub(member, 3))
  local need = redis.call('HGET', state, 'need') or '1 0'
  local in_tokens, out_tokens, smaller_in, smaller_out = string.match(need, '^(%d+) (%d+) ?(%d*) ?(%d*)$')
  local cost = { tokens = in_tokens + out_tokens, in_tokens = tonumber(in_tokens), out_tokens = tonumber(out_tokens) }
  if smaller_in ~= '' then
    cost.smaller = { tokens = smaller_in + smaller_out, in_tokens = tonumber(smaller_in), out_tokens = tonumber(smaller_out) }
  end
  return cost
end

-- The first waiter of a budget as the entry that holds its place there before a claimer at `vt`; nil: none does.
function parking.head(b, vt)
  if b.first == nil then
    local first = redis.call('ZRANGE', key.waiting(b.id), 0, 0, 'WITHSCORES')
    b.first = first[1] and string.sub(first[1], 1, 2) ~= 'd|' and { cost = need_of(first[1]), vt = tonumber(first[2]) } or false
  end
  return b.first and b.first.vt < vt and b.first.cost or nil
end

-- The first waiter does not fit: the next one that may pass it. Answers its member, or nil and when to look again.
local function passing(b, waiting, head, wait_ms)
  if not hold.open(b, head) then return nil, wait_ms end
  for i, member in ipairs(redis.call('ZRANGE', waiting, 0, PASSING)) do
    local need = i == 1 and head or string.sub(member, 1, 2) ~= 'd|' and need_of(member)
    for _, cost in ipairs(need and { need, need.smaller } or {}) do
      if cost.tokens < head.tokens and hold.lets_pass(b, head, cost) then
        local cost_ms = budget.wait(b, cost)
        if cost_ms == 0 then return member end
        wait_ms = math.min(wait_ms, cost_ms)
      end
    end
  end
  return nil, wait_ms
end

-- Promote what a budget admits now, in order of virtual time, so many at most, and set when to look again. Answers how many.
function parking.promote(id, most)
  local waiting = key.waiting(id)
  local stuck_ms = direct.promote(id)
  if stuck_ms then
    due(id, stuck_ms)
    return 0
  end
  local first = redis.call('ZRANGE', waiting, 0, 0)[1]
  if not first then
    redis.call('ZREM', key.budgets_due, id)
    return 0
  end
  local b, need = budget.load(id), need_of(first)
  local wait_ms = b and budget.wait(b, need) or 1000
  local members, again_ms = nil, AGAIN_MS
  if wait_ms > 0 then
    local member
    if b then member, wait_ms = passing(b, waiting, need, wait_ms) end
    if not member then
      due(id, wait_ms)
      return 0
    end
    members = { member }
  else
    local room = wait_ms < 0 and 1 or budget.room(b, need)
    members = redis.call('ZRANGE', waiting, 0, math.min(room, most) - 1)
    if room > most then again_ms = 0 end
  end
  if b then b.first = nil end
  for _, member in ipairs(members) do
    if string.sub(member, 1, 2) == 'd|' then
      stuck_ms = direct.promote(id)
      if stuck_ms then break end
    else
      redis.call('ZREM', waiting, member)
      local name, batch = string.match(member, '^f|([^|]*)|(.*)$')
      if name then free_flow(name, batch) else parking.free_queue(string.sub(member, 3)) end
    end
  end
  if stuck_ms then
    due(id, stuck_ms)
  elseif redis.call('EXISTS', waiting) == 1 then due(id, again_ms) else redis.call('ZREM', key.budgets_due, id) end
  return #members
end

-- A budget was shut: the queues that wait for it and have another target go on with that one.
function parking.divert(id)
  for _, member in ipairs(redis.call('ZRANGE', key.waiting(id), 0, DIVERTED - 1)) do
    local name = string.match(member, '^q|(.*)$')
    local packed = name and redis.call('HGET', key.queue_state(name), 'def')
    if packed and #queue.decode(packed).targets > 1 then parking.free_queue(name) end
  end
end

-- Capacity was freed: hand it to the first waiter at once.
function parking.hand_on(id)
  if redis.call('EXISTS', key.waiting(id)) == 1 then parking.promote(id, HANDED_ON) end
end
