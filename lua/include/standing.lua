-- standing: how things stand, for people: budgets with their windows, flows with what they have left. It decides nothing.

local standing = {}

local STEPS = 24 -- a window's history is told in so many steps at most
local SAMPLE = 4 -- entries of another flow whose mean stands for all of it
local HISTORIES = 6 -- windows whose history is read; the others are told as if they had been used evenly
local NEAREST, SPREAD = 6, 6 -- of many rivals: those told of by themselves, and those that stand for parts of the rest
local RIVALS = 16 -- queues told of
local OWN_BUDGETS = 16 -- budgets of rivals that are looked at
local A_MINUTE_MS = 60000

local histories = 0

-- When what a window holds comes back: {in ms, requests, tokens} …, oldest first. Where the history is not read, what it
-- holds was used evenly since its oldest sub-bucket.
local function slides(b, limit)
  local oldest, told, values = math.max(b.st[limit.at + OLDEST], b.bucket - limit.sub_buckets + 1), {}, nil
  local count = b.bucket - oldest
  local present_r, present_t = b.st[limit.at + CUR_R], b.st[limit.at + CUR_T]
  local even_r, even_t = 0, 0
  if histories < HISTORIES then
    local fields = {}
    for i = 1, count do fields[i] = limit.code .. ':' .. (oldest + i - 1) end
    values, histories = count > 0 and redis.call('HMGET', b.key, unpack(fields)) or {}, histories + 1
  elseif count > 0 then
    even_r, even_t = (b.st[limit.at + SUM_R] - present_r) / count, (b.st[limit.at + SUM_T] - present_t) / count
  end
  local size, requests, tokens = math.max(1, math.ceil((count + 1) / STEPS)), 0, 0
  for i = 1, count + 1 do
    local present = i == count + 1
    if present then
      requests, tokens = requests + present_r, tokens + present_t
    elseif not values then
      requests, tokens = requests + even_r, tokens + even_t
    elseif values[i] then
      local used_r, used_t = window.parse(values[i])
      requests, tokens = requests + used_r, tokens + used_t
    end
    if (i % size == 0 or present) and (requests ~= 0 or tokens ~= 0) then
      -- The middle of a step stands for all of it.
      local at_ms = (oldest + i - 1 + limit.sub_buckets) * SUB_MS - shard.now - math.floor((i - 1) % size / 2) * SUB_MS
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

-- Members of a sorted set that stand for all of it but `asking`: {member, score, how many it stands for} …. Who is first
-- goes first, so those count one by one; of the rest some at equal distances, each for its part.
local function drawn(name, asking)
  local listed, found = redis.call('ZRANGE', name, 0, NEAREST - 1, 'WITHSCORES'), {}
  for i = 1, #listed, 2 do
    if listed[i] ~= asking then found[#found + 1] = { listed[i], tonumber(listed[i + 1]), 1 } end
  end
  local rest = #listed == 2 * NEAREST and redis.call('ZCARD', name) - NEAREST or 0
  local parts = math.min(SPREAD, rest)
  for i = 1, parts do
    local from, to = math.floor((i - 1) * rest / parts), math.floor(i * rest / parts)
    local rank, stands_for = NEAREST + math.floor((from + to) / 2), to - from
    local one = redis.call('ZRANGE', name, rank, rank, 'WITHSCORES')
    if one[1] == asking then
      stands_for = stands_for - 1
      one = stands_for > 0 and redis.call('ZRANGE', name, rank - 1, rank - 1, 'WITHSCORES') or {}
    end
    if one[1] then found[#found + 1] = { one[1], tonumber(one[2]), stands_for } end
  end
  return found
end

-- The mean cost of the first entries of a flow.
local function mean_cost(queue_name, batch)
  local in_sum, out_sum, texts = 0, 0, redis.call('LRANGE', key.flow(queue_name, batch), 0, SAMPLE - 1)
  for _, text in ipairs(texts) do
    local in_tokens, out_tokens = string.match(text, '^%d+:%d+:(%d+):(%d+)')
    in_sum, out_sum = in_sum + in_tokens, out_sum + out_tokens
  end
  local count = math.max(1, #texts)
  return in_sum / count, out_sum / count
end

-- How many entries a flow has left.
local function left_of(queue_name, batch, cursor, ends)
  local here = redis.call('LLEN', key.flow(queue_name, batch)) + redis.call('ZCARD', flow.deferred_key(queue_name, batch))
  return here + math.max(0, ends - cursor)
end

local peeked, peeks = {}, 0

-- The limits of a budget of a rival, as {what is free of it now, what comes per ms, name, meter} …, without sliding it.
local function peek(id)
  if peeked[id] or peeks >= OWN_BUDGETS then return peeked[id] or {} end
  local packed, raw = unpack(redis.call('HMGET', key.budget(id), 'def', 'st'))
  local found, st = {}, raw and cmsgpack.unpack(raw)
  for _, limit in ipairs(packed and decode(packed).limits or {}) do
    local over, per = nil, limit.period_ms
    if limit.sub_buckets then
      over = st[limit.at + CUR] <= math.floor(shard.now / SUB_MS) - limit.sub_buckets
    else
      over = st[limit.at + CUR] ~= quota_index(limit.quota, shard.now, limit.zone)
    end
    for name, sum in pairs({ requests = SUM_R, tokens = SUM_T }) do
      if limit[name] >= 0 then
        local free = math.max(0, limit[name] - (over and 0 or st[limit.at + sum]))
        found[#found + 1] = { free, limit.sub_buckets and limit[name] / per or 0, name, limit.meter }
      end
    end
  end
  peeked[id], peeks = found, peeks + 1
  return found
end

-- What limits of their own let entries of a mean cost have: {requests at once, requests per ms} of the tightest; nil: none.
local function supply(ids, shared, in_tokens, out_tokens)
  local cost, tightest, least = { tokens = in_tokens + out_tokens, in_tokens = in_tokens, out_tokens = out_tokens }, nil, nil
  for _, id in ipairs(ids) do
    for _, one in ipairs(shared[id] and {} or peek(id)) do
      local each = one[3] == 'requests' and 1 or math.max(1, cost[one[4]])
      local in_a_minute = (one[1] + one[2] * A_MINUTE_MS) / each
      if not least or in_a_minute < least then tightest, least = { one[1] / each, one[2] / each }, in_a_minute end
    end
  end
  return tightest
end

-- What a flow has left and where it stands: {name, weight, start tag, entries, mean in_tokens, mean out_tokens}.
function standing.flow(f, tag)
  local in_tokens, out_tokens = mean_cost(f.queue, f.batch)
  return { f.batch, f.weight, tag, left_of(f.queue, f.batch, f.cursor, f.end_), in_tokens, out_tokens }
end

-- The same of another flow, and after it the pair that limits of its own allow it, if it has any and they are asked for
-- (those in `shared` are told of already). It stands for so many flows like it. nil: gone.
local function rival(queue_name, batch, tag, stands_for, shared)
  local cursor, ends, weight, budgets = unpack(redis.call('HMGET', flow.state_key(queue_name, batch), 'cursor', 'end_', 'weight',
    'budgets'))
  if not cursor then return nil end
  local in_tokens, out_tokens = mean_cost(queue_name, batch)
  local entries = left_of(queue_name, batch, tonumber(cursor), tonumber(ends))
  local own = shared and supply(cmsgpack.unpack(budgets), shared, in_tokens, out_tokens)
  return { batch, weight * stands_for, tag, entries * stands_for, in_tokens, out_tokens,
           own and own[1] * stands_for, own and own[2] * stands_for }
end

-- A budget as it stands. asking: the member of its waiters that asks; then with the flows that are parked on it beside
-- that one. Unknown: {id}.
function standing.budget(id, asking)
  local b = budget.load(id)
  if not b then return { id = id } end
  local limits, rivals = {}, {}
  for _, limit in ipairs(b.def.limits) do
    local at = limit.at
    limits[#limits + 1] = {
      limit.code, limit.meter, limit.requests, b.st[at + SUM_R], limit.tokens, b.st[at + SUM_T], limit.period_ms,
      limit.pace > 0 and limit.pace * recovery.pace(b) or -1, limit.burst_ms * recovery.burst(b),
      pace.request_debt(b, limit), pace.token_debt(b, limit), limit.quota and ends_ms(limit) or -1,
      limit.sub_buckets and slides(b, limit) or {},
    }
  end
  for _, one in ipairs(asking and drawn(key.waiting(id), asking) or {}) do
    local name, batch = string.match(one[1], '^f|([^|]*)|(.*)$')
    if name then rivals[#rivals + 1] = rival(name, batch, one[2], one[3]) end
  end
  return {
    id = id, in_flight = b.st[IN_FLIGHT], max_in_flight = b.def.max_in_flight, limits = limits, rivals = rivals,
    paused_ms = math.max(0, b.st[PAUSED_UNTIL] - shard.now), why = redis.call('HGET', b.key, 'why') or '',
    recovering = b.st[RECOVERING], shut = budget.shut(b), waiting = redis.call('ZCARD', key.waiting(id)),
  }
end

-- The other flows of a queue, by virtual time. shared: set of budgets that bind the one that asks too.
function standing.flows(queue_name, batch, shared)
  local told = {}
  for _, one in ipairs(drawn(key.queue(queue_name), batch)) do
    told[#told + 1] = rival(queue_name, one[1], one[2], one[3], shared)
  end
  return told
end

local function wants(def, targets)
  for i = 1, def.spill and #def.targets or 1 do
    if targets[def.targets[i]] then return true end
  end
  return false
end

-- The budgets of parts of its connections that a queue's calls pass: of models, and of its pool.
local function parts_of(def)
  local found = {}
  for i = 1, def.spill and #def.targets or 1 do
    for _, id in ipairs({ def.models[i] or '', def.pools[i] or '' }) do
      if id ~= '' then found[#found + 1] = id end
    end
  end
  return found
end

-- Another queue as a rival for a connection, like the flows; its first flow stands for all of them. Last come its parts.
local function rival_queue(name, state, stands_for, shared)
  local first = redis.call('ZRANGE', key.queue(name), 0, 0)[1]
  local one = first and rival(name, first, 0, redis.call('ZCARD', key.queue(name)), shared)
  if not one or one[4] == 0 then return nil end
  local parts, ids = parts_of(state.def), { unpack(state.def.budgets) }
  if not state.def.spill then
    for _, id in ipairs(parts) do ids[#ids + 1] = id end
  end
  local own = supply(ids, shared, one[5], one[6])
  local at_once, per_ms = own and own[1] or math.huge, own and own[2] or math.huge
  if one[7] and one[7] + one[8] * A_MINUTE_MS < at_once + per_ms * A_MINUTE_MS then at_once, per_ms = one[7], one[8] end
  local bound = at_once < math.huge
  return { name, state.def.weight * stands_for, state.vt, one[4] * stands_for, one[5], one[6],
           bound and at_once * stands_for, bound and per_ms * stands_for, parts }
end

function standing.load_queue(name)
  local packed, vt, parked = unpack(redis.call('HMGET', key.queue_state(name), 'def', 'vt', 'parked'))
  if not packed then return nil end
  return { name = name, def = queue.decode(packed), vt = tonumber(vt or 0), parked = parked and true or false }
end

-- The other queues that want one of these connections, a list: those that wait for it, and those that may be claimed from.
function standing.queues(queue_name, targets, shared)
  local seen, told, wanted = { [queue_name] = true }, {}, {}
  for _, id in ipairs(targets) do wanted[id] = true end
  local function tell(name, stands_for)
    if seen[name] or #told >= RIVALS then return end
    seen[name] = true
    local state = standing.load_queue(name)
    if state and wants(state.def, wanted) then told[#told + 1] = rival_queue(name, state, stands_for, shared) end
  end
  for _, one in ipairs(drawn(key.active, queue_name)) do tell(one[1], one[3]) end
  for _, id in ipairs(targets) do
    for _, one in ipairs(#told < RIVALS and drawn(key.waiting(id), 'q|' .. queue_name) or {}) do
      if string.sub(one[1], 1, 2) == 'q|' then tell(string.sub(one[1], 3), one[3]) end
    end
  end
  return told
end
