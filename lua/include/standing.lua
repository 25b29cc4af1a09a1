-- standing: how things stand, for people: budgets with their windows, flows with what they have left. It decides nothing.

local standing = {}

local STEPS = 24 -- a window's history is told in so many steps at most
local SAMPLE = 4 -- entries of another flow whose mean stands for all of it
local RIVALS = 16 -- others that are told of, at most

-- When what a window holds comes back: {in ms, requests, tokens} …, oldest first.
local function slides(b, limit)
  local past, told = history(b, limit), {}
  local size = math.max(1, math.ceil((#past.requests + 1) / STEPS))
  local requests, tokens = 0, 0
  for i = 1, #past.requests + 1 do
    local bucket = past.oldest + i - 1
    local present = bucket >= b.bucket
    requests = requests + (present and b.st[limit.at + CUR_R] or past.requests[i])
    tokens = tokens + (present and b.st[limit.at + CUR_T] or past.tokens[i])
    if (i % size == 0 or present) and (requests ~= 0 or tokens ~= 0) then
      -- The middle of a step stands for all of it.
      local at_ms = (bucket + limit.sub_buckets) * SUB_MS - shard.now - math.floor((i - 1) % size / 2) * SUB_MS
      told[#told + 1] = { math.max(0, at_ms), requests, tokens }
      requests, tokens = 0, 0
    end
  end
  return told
end

-- When a quota starts again, in ms; -1: never.
local function ends_ms(limit)
  local now, code, zone = shard.now, limit.quota, limit.zone
  if code == 'L' then return -1 end
  -- By hours: where clocks change a day does not end 24 h after it began.
  local step = (code == 'H' or zone ~= '') and HOUR_MS or DAY_MS
  local index, at_ms = quota_index(code, now, zone), now - now % step + step
  while quota_index(code, at_ms, zone) == index do at_ms = at_ms + step end
  return at_ms - now
end

-- The mean cost of some entries: {in_tokens, out_tokens} each.
local function mean(texts)
  local in_tokens, out_tokens = 0, 0
  for _, text in ipairs(texts) do
    local e = flow.parse(text)
    in_tokens, out_tokens = in_tokens + e.in_tokens, out_tokens + e.out_tokens
  end
  local count = math.max(1, #texts)
  return in_tokens / count, out_tokens / count
end

-- What a flow has left and where it stands: {name, weight, start tag, entries, mean in_tokens, mean out_tokens}.
function standing.flow(f, tag)
  local list = key.flow(f.queue, f.batch)
  local here = redis.call('LLEN', list) + redis.call('ZCARD', flow.deferred_key(f.queue, f.batch))
  local in_tokens, out_tokens = mean(redis.call('LRANGE', list, 0, SAMPLE - 1))
  return { f.batch, f.weight, tag or f.vt, here + math.max(0, f.end_ - f.cursor), in_tokens, out_tokens }
end

-- A budget as it stands, with the flows that are parked on it (beside the one that asks). Unknown: {id}.
function standing.budget(id, asking)
  local b = budget.load(id)
  if not b then return { id = id } end
  local limits, rivals = {}, {}
  for _, limit in ipairs(b.def.limits) do
    local at = limit.at
    limits[#limits + 1] = {
      limit.code, limit.meter, limit.requests, b.st[at + SUM_R], limit.tokens, b.st[at + SUM_T], limit.period_ms,
      limit.pace > 0 and limit.pace * recovery.pace(b) or -1, limit.burst_ms * recovery.burst(b),
      b.st[at + TAT_R] - shard.now, b.st[at + TAT_T] - shard.now, limit.quota and ends_ms(limit) or -1,
      limit.sub_buckets and slides(b, limit) or {},
    }
  end
  for _, member in ipairs(redis.call('ZRANGE', key.waiting(id), 0, RIVALS - 1)) do
    local name, batch = string.match(member, '^f|([^|]*)|(.*)$')
    local f = name and member ~= asking and flow.load(name, batch)
    if f then rivals[#rivals + 1] = standing.flow(f) end
  end
  return {
    id = id, in_flight = b.st[IN_FLIGHT], max_in_flight = b.def.max_in_flight, limits = limits, rivals = rivals,
    paused_ms = math.max(0, b.st[PAUSED_UNTIL] - shard.now), why = redis.call('HGET', b.key, 'why') or '',
    recovering = b.st[RECOVERING], shut = budget.shut(b), waiting = redis.call('ZCARD', key.waiting(id)),
  }
end

-- The other flows of a queue, by virtual time.
function standing.flows(queue_name, batch)
  local listed, told = redis.call('ZRANGE', key.queue(queue_name), 0, RIVALS, 'WITHSCORES'), {}
  for i = 1, #listed, 2 do
    local f = listed[i] ~= batch and flow.load(queue_name, listed[i])
    if f and not f.paused and not f.dead then told[#told + 1] = standing.flow(f, tonumber(listed[i + 1])) end
  end
  return told
end

local function wants(def, targets)
  for i = 1, def.spill and #def.targets or 1 do
    if targets[def.targets[i]] then return true end
  end
  return false
end

-- Another queue as a rival for a connection; its first flows stand for all of them.
local function queue_standing(name, state)
  local listed = redis.call('ZRANGE', key.queue(name), 0, 1)
  local entries, in_tokens, out_tokens, loaded = 0, 0, 0, 0
  for _, batch in ipairs(listed) do
    local f = flow.load(name, batch)
    if f then
      local told = standing.flow(f)
      loaded, entries = loaded + 1, entries + told[4]
      in_tokens, out_tokens = in_tokens + told[4] * told[5], out_tokens + told[4] * told[6]
    end
  end
  if entries == 0 then return nil end
  local all = entries * redis.call('ZCARD', key.queue(name)) / loaded
  return { name, state.def.weight, state.vt, all, in_tokens / entries, out_tokens / entries }
end

function standing.load_queue(name)
  local packed, vt, parked = unpack(redis.call('HMGET', key.queue_state(name), 'def', 'vt', 'parked'))
  if not packed then return nil end
  return { name = name, def = queue.decode(packed), vt = tonumber(vt or 0), parked = parked and true or false }
end

-- The other queues that want one of these connections: those that wait for it, and those that may be claimed from.
function standing.queues(queue_name, targets)
  local names, seen, told = {}, { [queue_name] = true }, {}
  for id in pairs(targets) do
    for _, member in ipairs(redis.call('ZRANGE', key.waiting(id), 0, RIVALS - 1)) do
      if string.sub(member, 1, 2) == 'q|' then names[#names + 1] = string.sub(member, 3) end
    end
  end
  for _, name in ipairs(redis.call('ZRANGE', key.active, 0, RIVALS - 1)) do names[#names + 1] = name end
  for _, name in ipairs(names) do
    local state = not seen[name] and #told < RIVALS and standing.load_queue(name) or nil
    seen[name] = true
    if state and wants(state.def, targets) then told[#told + 1] = queue_standing(name, state) end
  end
  return told
end
