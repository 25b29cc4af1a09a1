#!lua
-- explain: how things stand for a flow and for one of its entries: what it waits on, what goes first, what it shares.
--
-- KEYS[1]  epoch     string  brim:{s}:epoch
-- ARGV[1]  epoch     str     the caller's epoch
-- ARGV[2]  queue     str     <ws>:<env>:<resource>
-- ARGV[3]  batch     str
-- ARGV[4]  position  int     the entry that is asked for; 0: the first one
--
-- RETURNS  {'explained', json of what include standing tells}
--          {'unknown'}     the engine does not hold the flow or its queue
--          {'epoch', ruling}
--@include now
--@include shard
--@include budget
--@include queue
--@include flow
--@include lease
--@include standing

local epoch, queue_name, batch, position = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local refused = shard.refuses(epoch)
if refused then return refused end
shard.read_clock()

local LOOKED_AT = 128 -- entries read from the front of the list, where one of them is asked for
local DEFERRED = 512 -- deferred entries looked through
local TARGETS = 8 -- targets told of

local f, q = flow.load(queue_name, batch), standing.load_queue(queue_name)
if not f or not q then return { 'unknown' } end
local list, deferred_key = key.flow(queue_name, batch), flow.deferred_key(queue_name, batch)

local entry = { place = 'absent', due_ms = 0, ahead = 0, in_tokens = 0, out_tokens = 0, target = 0 }

local function found(e, place, ahead)
  entry.place, entry.ahead, entry.target = place, ahead, e.target
  entry.in_tokens, entry.out_tokens = tonumber(e.in_tokens), tonumber(e.out_tokens)
end

local function position_of(text) return tonumber(string.match(text, '^%d+')) end

-- The list is in order of position, but for what came back to its front: those are looked through, the rest is halved.
local function look_in_list(texts)
  for i, text in ipairs(texts) do
    if position == 0 or position_of(text) == position then return found(flow.parse(text), 'waiting', i - 1) end
  end
  local low, high = #texts, redis.call('LLEN', list) - 1
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local e = flow.parse(redis.call('LINDEX', list, middle))
    if tonumber(e.position) == position then return found(e, 'waiting', middle) end
    if tonumber(e.position) < position then low = middle + 1 else high = middle - 1 end
  end
end

local function look_in_deferred()
  local listed = redis.call('ZRANGE', deferred_key, 0, DEFERRED - 1, 'WITHSCORES')
  for i = 1, #listed, 2 do
    if position == 0 or position_of(listed[i]) == position then
      found(flow.parse(listed[i]), 'deferred', 0)
      entry.due_ms = math.max(0, tonumber(listed[i + 1]) - shard.now)
      return
    end
  end
end

local texts = redis.call('LRANGE', list, 0, position == 0 and 0 or LOOKED_AT - 1)
look_in_list(texts)
if entry.place == 'absent' then look_in_deferred() end
if entry.place == 'absent' and position > 0 then
  local held = redis.call('HGET', key.leases, lease.id(queue_name, batch, position))
  if held then found(flow.parse(lease.unpack(held).entry), 'running', 0) end
end

-- What goes before it in its flow: what was read counts as it is, the mean of it stands for the rest.
local in_ahead, out_ahead = 0, 0
for i = 1, math.min(entry.ahead, #texts) do
  local in_tokens, out_tokens = string.match(texts[i], '^%d+:%d+:(%d+):(%d+)')
  in_ahead, out_ahead = in_ahead + in_tokens, out_ahead + out_tokens
end

-- The budgets of each target: its connection's, what was learned of its model, and its pool's, as far as they are.
local wanted, targets, of_targets = {}, {}, {}
for i, id in ipairs(q.def.targets) do
  if i <= TARGETS then
    local names = { id }
    for _, more in ipairs({ q.def.models[i] or '', q.def.pools[i] or '' }) do
      if more ~= '' and budget.load(more) then names[#names + 1] = more end
    end
    targets[#targets + 1], wanted[#wanted + 1] = id, names
    for _, name in ipairs(names) do of_targets[#of_targets + 1] = name end
  end
end
local accounts, told = {}, {}
for at, ids in ipairs({ f.budgets, q.def.budgets, of_targets }) do
  for _, id in ipairs(ids) do
    -- Flows that wait on the flow's own budgets take turns with it there; on the others it is the queues that do.
    local asking = at == 1 and 'f|' .. queue_name .. '|' .. batch or nil
    if not told[id] then accounts[#accounts + 1], told[id] = standing.budget(id, asking), true end
  end
end
local listed_at = redis.call('ZSCORE', key.queue(queue_name), batch)
local latest = redis.call('ZRANGE', deferred_key, -1, -1, 'WITHSCORES')

local answer = cjson.encode({
  entry = entry, read = #texts, in_ahead = in_ahead, out_ahead = out_ahead,
  own = standing.flow(f, tonumber(listed_at or f.vt)), waiting = redis.call('LLEN', list), cursor = f.cursor, ends = f.end_,
  paused = f.paused, dead = f.dead, leased = f.leased, deferred = redis.call('ZCARD', deferred_key),
  last_due_ms = latest[2] and math.max(0, tonumber(latest[2]) - shard.now) or 0,
  flow_parked_on = f.parked or '', queue_parked = q.parked,
  queue = { queue_name, q.def.weight, q.vt, 0, 0, 0 }, spill = q.def.spill,
  flow_budgets = f.budgets, queue_budgets = q.def.budgets, targets = wanted, accounts = accounts,
  flows = standing.flows(queue_name, batch, told), queues = standing.queues(queue_name, targets, told),
})
budget.save()
shard.write_clock()
return { 'explained', answer }
